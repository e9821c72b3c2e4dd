// SPDX-License-Identifier: MIT
//
// with_spill and its file: real files, cut at every byte, with every byte flipped, on a full disk, by a process that is
// killed.
#include "../support/common.hpp"
#include "../support/files.hpp"
#include "../support/latch.hpp"
#include "../support/recorder.hpp"

#include <tidefall/decorators.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>
#include <tidefall/spill.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#endif

namespace fs = std::filesystem;
using tests::bytes_of;
using tests::ContainsSubstring;
using tests::one_partition;
using tests::temporary_directory;
using tests::write_bytes;
using tidefall::read_spill;
using tidefall::set_aside_spill;
using tidefall::spill_error;
using tidefall::spill_report;
using tidefall::with_spill;
using records = std::vector<std::string>;
using items_queue = tidefall::queue<std::string>;

namespace {

constexpr std::size_t header = 8;
constexpr std::size_t prefix = 12;

auto const fail = [](std::span<std::string const>) { throw std::runtime_error("the sink is gone"); };
auto const as_it_is = [](std::string const& value, std::string& to) { to = value; };

/// Spills each of the batches, in a file opened for them.
void spill(fs::path const& path, std::vector<records> const& batches) {
    auto process = with_spill(fail, path, as_it_is, {.sync = false});
    for (auto const& batch : batches) process(std::span<std::string const>(batch));
}

struct found {
    records all;
    spill_report report;
};

found read(fs::path const& path) {
    found result;
    result.report = read_spill(path, [&](std::string_view record) { result.all.emplace_back(record); });
    CHECK(result.report.records == result.all.size());
    std::uint64_t bytes = 0;
    for (auto const& one : result.all) bytes += one.size();
    CHECK(result.report.bytes == bytes);
    return result;
}

}  // namespace

TEST_CASE("spill: what fails is in the file, and counts as processed") {
    temporary_directory const directory;
    auto const path = directory / "spill";
    std::vector<std::pair<std::size_t, std::string>> told;
    tests::returns<std::string> back;
    bool failing = true;
    {
        items_queue items(one_partition(tidefall::make_manual_runtime(), 2),
                          with_spill(
                              [&](std::span<std::string const> batch) {
                                  if (failing) fail(batch);
                              },
                              path, as_it_is,
                              {.on_spill =
                                   [&](std::size_t values, std::exception_ptr const& error) {
                                       CHECK_THROWS_WITH(std::rethrow_exception(error), "the sink is gone");
                                       told.emplace_back(values, bytes_of(path).substr(header + prefix, 1));
                                       throw 1;  // is swallowed
                                   }}),
                          back);
        items.push_range(records{"a", "b", "c"});
        CHECK(items.flush().processed == 3);
        failing = false;
        items.push("delivered");
        CHECK(items.flush().processed == 1);
    }
    CHECK(back.all().empty());
    CHECK(told == std::vector<std::pair<std::size_t, std::string>>{{2, "a"}, {1, "a"}});
    CHECK(read(path).all == records{"a", "b", "c"});
    CHECK(read(path).report == spill_report{.records = 3, .bytes = 3});
    spill(path, {{"d"}});  // opened again
    CHECK(read(path).all == records{"a", "b", "c", "d"});
}

TEST_CASE("spill: any bytes make a record, and any size") {
    temporary_directory const directory;
    records const all{"",           std::string(1, '\0'),      std::string("TFSPILL\x01", 8),
                      "\xF5TF\xA7", std::string(200'000, 'x'), ""};
    spill(directory / "spill", {all, {}, all});
    auto const result = read(directory / "spill");
    records twice = all;
    twice.insert(twice.end(), all.begin(), all.end());
    CHECK((result.all == twice));  // not printed
    CHECK(result.report.damaged_bytes + result.report.torn_bytes == 0);
}

TEST_CASE("spill: the forms of an encoding") {
    temporary_directory const directory;
    std::vector<int> const two{1, 2};
    std::span<int const> const batch(two);
    auto const bad = [](std::span<int const>) { throw 1; };
    int file = 0;
    auto const made_by = [&](auto encode) {
        auto const path = directory / std::to_string(++file);
        with_spill(bad, path, std::move(encode), {.sync = false})(batch);
        return read(path).all;
    };
    CHECK(made_by([](int value) { return std::to_string(value) + "!"; }) == records{"1!", "2!"});
    CHECK(made_by([](int const&) { return "text"; }) == records{"text", "text"});
    CHECK(made_by([](int const&, std::string& to) { to += "appended"; }) == records{"appended", "appended"});
    CHECK(made_by([](auto const& value) { return std::string_view(&"abc"[value]); }) == records{"bc", "c"});
    CHECK(made_by([only = std::make_unique<int>(5)](int) { return std::to_string(*only); }) == records{"5", "5"});
}

TEST_CASE("spill: the bytes of the file are what the header says") {
    CHECK(tidefall::detail::crc32c("123456789") == 0xE3069283U);  // the check value that the CRC is known by
    temporary_directory const directory;
    spill(directory / "spill", {{"ab"}});
    auto const bytes = bytes_of(directory / "spill");
    REQUIRE(bytes.size() == header + prefix + 2);
    CHECK(bytes.substr(0, 16) == std::string("TFSPILL\x01\xF5\x54\x46\xA7\x02\x00\x00\x00", 16));
    CHECK(bytes.substr(20) == "ab");
    auto const sum = tidefall::detail::crc32c(std::string("\x08\0\0\0\0\0\0\0\x02\0\0\0ab", 14));
    for (std::size_t i = 0; i < 4; ++i) {
        CHECK(static_cast<unsigned char>(bytes[16 + i]) == ((sum >> (8 * i)) & 0xFFU));
    }
}

TEST_CASE("spill: cut off at any byte, the whole records are there, and more can follow") {
    temporary_directory const directory;
    auto const path = directory / "spill";
    records const all{"first", "", "the third"};
    spill(path, {all});
    auto const bytes = bytes_of(path);
    for (std::size_t length = 0; length < bytes.size(); ++length) {
        write_bytes(path, bytes.substr(0, length));
        // Where the whole part ends.
        records whole;
        std::size_t end = length < header ? 0 : header;
        for (auto const& one : all) {
            if (end == 0 || end + prefix + one.size() > length) break;
            end += prefix + one.size();
            whole.push_back(one);
        }
        auto const torn = read(path);
        if (torn.all != whole) FAIL("cut at " << length << ": " << torn.all.size() << " records");
        CHECK(torn.report.torn_bytes == length - end);
        CHECK(torn.report.damaged_bytes == 0);
        CHECK(bytes_of(path).size() == length);  // reading changes nothing

        spill(path, {{"one more"}});
        whole.emplace_back("one more");
        auto const after = read(path);
        if (after.all != whole) FAIL("cut at " << length << ", then appended: " << after.all.size() << " records");
        CHECK(after.report.torn_bytes == 0);
    }
}

TEST_CASE("spill: a byte that is flipped costs its record and no other") {
    temporary_directory const directory;
    auto const path = directory / "spill";
    records const all{"first", "", "the third", "4"};
    spill(path, {all});
    auto const bytes = bytes_of(path);
    std::size_t index = 0;
    std::size_t end = header + prefix + all[0].size();
    for (std::size_t at = header; at < bytes.size(); ++at) {
        if (at == end) end += prefix + all[++index].size();
        for (int const flip : {0x01, 0x80, 0xFF}) {
            auto flipped = bytes;
            flipped[at] = static_cast<char>(flipped[at] ^ flip);
            write_bytes(path, flipped);
            auto rest = all;
            rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(index));
            auto const result = read(path);
            if (result.all != rest) FAIL("byte " << at << " flipped by " << flip);
            bool const is_last = index + 1 == all.size();
            auto const size = prefix + all[index].size();
            CHECK(result.report.damaged_bytes == (is_last ? 0 : size));
            CHECK(result.report.torn_bytes == (is_last ? size : 0));
            if (flip != 0x80) continue;
            spill(path, {{"one more"}});
            rest.emplace_back("one more");
            if (read(path).all != rest) FAIL("byte " << at << " flipped, then appended");
        }
    }
}

TEST_CASE("spill: what follows damage is found, wherever it begins") {
    temporary_directory const directory;
    auto const path = directory / "spill";
    // The search reads windows of 64 KiB: the second record's marker lies before, across and after their border.
    for (std::size_t size = 65'536 - prefix - 8; size < 65'536 + 4; ++size) {
        spill(path, {{std::string(size, '\xF5'), "found"}});
        auto bytes = bytes_of(path);
        bytes[header + 4] ^= 1;
        write_bytes(path, bytes);
        auto const result = read(path);
        if (result.all != records{"found"}) FAIL("not found behind a record of " << size);
        fs::remove(path);
    }
}

TEST_CASE("spill: neither zeros nor what is out of place is taken for a record") {
    temporary_directory const directory;
    auto const path = directory / "spill";
    spill(path, {{"one", "two"}});
    auto const bytes = bytes_of(path);
    auto const record = bytes.substr(header, prefix + 3);
    std::string const tails[] = {
        std::string(100'000, '\0'),    std::string(11, '\xF5'), record, bytes, "\xF5TF\xA7" + std::string(8, '\xFF'),
        std::string(20, '\0') + record};
    for (auto const& tail : tails) {
        write_bytes(path, bytes + tail);
        CHECK(read(path).all == records{"one", "two"});
        CHECK(read(path).report.torn_bytes == tail.size());
        spill(path, {});
        CHECK(bytes_of(path) == bytes);  // cut off
    }
    // A spill file in a record that is damaged.
    fs::remove(path);
    spill(path, {{bytes, "three"}});
    auto damaged = bytes_of(path);
    damaged[header + 8] ^= 1;
    write_bytes(path, damaged);
    CHECK(read(path).all == records{"three"});
}

TEST_CASE("spill: files that are no spill files are refused, by name, and left alone") {
    temporary_directory const directory;
    auto const open = [](fs::path const& path) { with_spill(fail, path, as_it_is); };
    auto const path = directory / "notes.txt";
    for (std::string const text : {"Dear diary, today I", "X", "TFSPILL\x02 of a later version", "TFSPILX"}) {
        write_bytes(path, text);
        CHECK_THROWS_AS(open(path), spill_error);
        CHECK_THROWS_WITH(open(path), ContainsSubstring("notes.txt is not a spill file of version 1"));
        CHECK_THROWS_WITH(read(path), ContainsSubstring("notes.txt is not a spill file of version 1"));
        CHECK(bytes_of(path) == text);
    }
    CHECK_THROWS_WITH(read(directory / "missing"), ContainsSubstring("missing cannot be read: there is no such file"));
    CHECK(!fs::exists(directory / "missing"));
    CHECK_THROWS_WITH(read(directory / "."), ContainsSubstring("not a regular file"));
    CHECK_THROWS_WITH(open(directory / "."), ContainsSubstring("not a regular file"));
    CHECK_THROWS_WITH(open(directory / "no/such/place"), ContainsSubstring("cannot be opened: No such file"));
    CHECK_THROWS_WITH(open(""), ContainsSubstring("cannot be opened: No such file"));
}

TEST_CASE("spill: an encoding that throws spills nothing, and the batch has failed") {
    temporary_directory const directory;
    auto const path = directory / "spill";
    tests::returns<std::string> back;
    items_queue items(one_partition(tidefall::make_manual_runtime(), 2),
                      with_spill(fail, path,
                                 [](std::string const& value) {
                                     if (value == "bad") throw std::runtime_error("no text for it");
                                     return value;
                                 }),
                      back);
    items.push_range(records{"a", "bad", "b", "c"});
    auto const report = items.stop();
    CHECK(report.failed == 2);
    CHECK(report.processed == 2);
    CHECK(read(path).all == records{"b", "c"});
    CHECK(back.values() == records{"a", "bad"});
    REQUIRE(back.all().size() == 1);
    try {
        std::rethrow_exception(back.all()[0].error);
    } catch (spill_error const& error) {
        CHECK_THAT(error.what(), ContainsSubstring("spill cannot take 2 values that were not delivered: the encoding "
                                                   "threw: no text for it"));
        CHECK_THROWS_WITH(std::rethrow_exception(error.cause()), "the sink is gone");
    }
}

TEST_CASE("spill: threads that spill at once") {
    temporary_directory const directory;
    auto const path = directory / "spill";
    constexpr int count = 2000;
    tests::latch started;
    {
        auto const shared = with_spill(fail, path, as_it_is, {.sync = false});
        std::vector<std::thread> threads;
        for (std::string const name : {"a", "b", "c"}) {
            threads.emplace_back([&started, copy = shared, name]() mutable {
                started.wait();
                for (int i = 0; i < count; i += 2) {
                    records const batch{name + std::to_string(i), name + std::to_string(i + 1)};
                    copy(std::span<std::string const>(batch));
                }
            });
        }
        started.open();
        for (auto& each : threads) each.join();
    }
    std::map<char, int> next;
    auto const result = read(path);
    CHECK(result.all.size() == 3 * count);
    CHECK(result.report.damaged_bytes + result.report.torn_bytes == 0);
    for (std::size_t i = 0; i < result.all.size(); ++i) {
        auto const& one = result.all[i];
        if (one.substr(1) != std::to_string(next[one[0]]++)) FAIL("out of order: " << one);
        if (i % 2 == 1 && one[0] != result.all[i - 1][0]) FAIL("a batch is torn apart: " << one);
    }
}

TEST_CASE("spill: a start after a crash delivers what is in the file, and nothing is lost on the way") {
    temporary_directory const directory;
    auto const path = directory / "spill";
    CHECK(set_aside_spill(path) == std::nullopt);
    spill(path, {{"a", "b"}});
    auto const old = set_aside_spill(path);
    REQUIRE(old);
    CHECK(old->string() == path.string() + ".replay");
    CHECK(!fs::exists(path));
    CHECK(read(*old).all == records{"a", "b"});

    spill(path, {{"c"}});  // the new run spills; then it crashes before the old file is removed
    CHECK(set_aside_spill(path) == old);
    CHECK(read(*old).all == records{"a", "b"});
    fs::remove(*old);
    CHECK(set_aside_spill(path) == old);
    CHECK(read(*old).all == records{"c"});
}

#if defined(__unix__) || defined(__APPLE__)

TEST_CASE("spill: a file serves one with_spill at a time") {
    temporary_directory const directory;
    auto const path = directory / "spill";
    auto const open = [&] { return with_spill(fail, path, as_it_is, {.sync = false}); };
    {
        auto const first = open();
        auto const copy = first;
        CHECK_THROWS_WITH(open(), ContainsSubstring("spill cannot be opened: it is in use"));
        CHECK_THROWS_WITH(set_aside_spill(path), ContainsSubstring("spill cannot be set aside"));
        CHECK(fs::exists(path));
    }
    CHECK_NOTHROW(open());
    CHECK(set_aside_spill(path));
}

TEST_CASE("spill: on a full disk the batch has failed, the file is as it was, and the next batch tries anew") {
    temporary_directory const directory;
    auto const path = directory / "spill";
    auto process = with_spill(fail, path, as_it_is, {.sync = GENERATE(false, true)});
    records const small{"small"};
    records const large{"fits", std::string(100'000, 'x')};
    process(std::span<std::string const>(small));
    auto const before = bytes_of(path);

    // A limit of this process stands for the disk: what fits is written.
    auto const previous = std::signal(SIGXFSZ, SIG_IGN);
    rlimit limit{};
    REQUIRE(getrlimit(RLIMIT_FSIZE, &limit) == 0);
    auto full = limit;
    full.rlim_cur = 65'536;
    REQUIRE(setrlimit(RLIMIT_FSIZE, &full) == 0);
    std::string what;
    std::exception_ptr cause;
    try {
        process(std::span<std::string const>(large));
    } catch (spill_error const& error) {
        what = error.what();
        cause = error.cause();
    }
    setrlimit(RLIMIT_FSIZE, &limit);
    std::signal(SIGXFSZ, previous);
    CHECK_THAT(what, ContainsSubstring("spill cannot take 2 values that were not delivered: File too large"));
    REQUIRE(cause);
    CHECK_THROWS_WITH(std::rethrow_exception(cause), "the sink is gone");
    CHECK(bytes_of(path) == before);

    process(std::span<std::string const>(large));
    CHECK(read(path).all == records{"small", "fits", std::string(100'000, 'x')});
}

TEST_CASE("spill: what a process that is killed has spilled is there") {
    temporary_directory const directory;
    auto const path = directory / "spill";
    auto const child = fork();
    if (child == 0) {
        auto process = with_spill(fail, path,
                                  [](std::string const& value) {
                                      if (value == "d") ::kill(::getpid(), SIGKILL);
                                      return value;
                                  },
                                  {.sync = false});
        records const first{"a", "b"};
        records const second{"c", "d"};
        process(std::span<std::string const>(first));
        process(std::span<std::string const>(second));
        ::_exit(1);
    }
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status));
    CHECK(read(path).all == records{"a", "b"});
    CHECK(read(path).report.torn_bytes == 0);
    spill(path, {{"c"}});  // nothing holds the file
    CHECK(read(path).all == records{"a", "b", "c"});
}

#endif
