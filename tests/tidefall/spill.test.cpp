// SPDX-License-Identifier: MIT
//
// with_spill and its file: real files, cut at every byte, with every byte flipped, on a full disk, by a process that is
// killed, by several at once. What files that are made to be slow cost is counted in bytes.
#include "../support/common.hpp"
#include "../support/files.hpp"
#include "../support/latch.hpp"
#include "../support/recorder.hpp"

#include <tidefall/decorators.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>
#include <tidefall/spill.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#endif
#if defined(__linux__) && defined(__GLIBC__)
#include <sys/file.h>
#include <sys/syscall.h>

#define TIDEFALL_TEST_CALLS 1
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

/// Calls a decorated processor as the engine does.
template <typename Process, typename T = std::string>
void call(Process&& process, std::span<std::type_identity_t<T> const> batch) {
    process(batch, tidefall::batch_info{}, std::stop_token());
}

/// Spills each of the batches, in a file opened for them.
void spill(fs::path const& path, std::vector<records> const& batches) {
    auto process = with_spill(fail, path, as_it_is, {.sync = false});
    for (auto const& batch : batches) call(process, batch);
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

/// A file in memory, of which all that is read is counted.
class memory_file {
public:
    explicit memory_file(std::string bytes) : bytes_(std::move(bytes)) {}

    [[nodiscard]] std::uint64_t size() const { return bytes_.size(); }
    std::size_t read_at(std::uint64_t from, char* to, std::size_t count) {
        if (fault) throw std::system_error(fault);
        auto const done = bytes_.copy(to, count, static_cast<std::size_t>(from));
        bytes_read += done;
        return done;
    }

    std::uint64_t bytes_read = 0;
    std::error_code fault;

private:
    std::string const bytes_;
};

/// The prefix of a record, with a checksum that is not right.
std::string false_prefix(std::size_t length) {
    std::string text("\xF5TF\xA7....abcd");
    tidefall::detail::put_integer(text.data() + 4, static_cast<std::uint32_t>(length));
    return text;
}

/// A gap that is whole at that place.
std::string gap_at(std::size_t offset, std::string const& inside) {
    return tidefall::detail::spill_gap(offset, static_cast<std::uint32_t>(inside.size())) + inside;
}

/// A record that is whole at that place.
std::string record_at(std::size_t offset, std::string_view payload) {
    tidefall::detail::spill_records one;
    one.add(payload);
    return std::string(one.sealed_for(offset));
}

/// What the header of the format says of a file, each claim by itself: in quadratic time.
found search(std::string_view bytes) {
    found result;
    auto const is_whole = [&](std::size_t at) {
        if (bytes.size() - at < prefix || bytes.substr(at, 4) != "\xF5TF\xA7") return false;
        std::size_t const length = tidefall::detail::get_u32(bytes.data() + at + 4);
        return length <= bytes.size() - at - prefix &&
               tidefall::detail::spill_checksum(at, bytes.substr(at + prefix, length)) ==
                   tidefall::detail::get_u32(bytes.data() + at + 8);
    };
    auto const is_gap = [&](std::size_t at) {
        if (bytes.size() - at < prefix || bytes.substr(at, 4) != "\xF5TF\xA8") return false;
        auto const length = tidefall::detail::get_u32(bytes.data() + at + 4);
        return length <= bytes.size() - at - prefix &&
               tidefall::detail::spill_place_checksum(at, length) == tidefall::detail::get_u32(bytes.data() + at + 8);
    };
    for (std::size_t at = header; at < bytes.size();) {
        auto next = at;
        while (next < bytes.size() && !is_whole(next) && !is_gap(next)) ++next;
        (next < bytes.size() ? result.report.damaged_bytes : result.report.torn_bytes) += next - at;
        at = next;
        if (at == bytes.size()) break;
        if (is_gap(at)) {
            auto const size = prefix + tidefall::detail::get_u32(bytes.data() + at + 4);
            result.report.removed_bytes += size;
            at += size;
            continue;
        }
        auto const payload = bytes.substr(at + prefix, tidefall::detail::get_u32(bytes.data() + at + 4));
        result.all.emplace_back(payload);
        ++result.report.records;
        result.report.bytes += payload.size();
        at += prefix + payload.size();
    }
    return result;
}

found read_memory(memory_file& file) {
    found result;
    result.report = tidefall::detail::read_spill_records("in memory", file, [&](std::string_view record) {
                        result.all.emplace_back(record);
                    }).report;
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
        auto process = with_spill(bad, path, std::move(encode), {.sync = false});
        call<decltype(process)&, int>(process, batch);
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

TEST_CASE("spill: the checksum of a part is known from those of what comes before its ends") {
    using tidefall::detail::crc32c_after_zeros;
    using tidefall::detail::crc32c_register;
    for (std::uint32_t const count : {0U, 1U, 15U, 16U, 17U, 255U, 4097U, 70'000U}) {
        CHECK(crc32c_after_zeros(0x12345678U, count) == crc32c_register(0x12345678U, std::string(count, '\0')));
    }
    // Each row of the table: 16^r zero bytes are 16 times 16^(r-1).
    for (std::uint32_t count = 1; count < (1U << 28); count <<= 4) {
        std::uint32_t held = 0x9ABCDEF0U;
        for (int i = 0; i < 16; ++i) held = crc32c_after_zeros(held, count);
        CHECK(crc32c_after_zeros(0x9ABCDEF0U, count << 4) == held);
    }
}

TEST_CASE("spill: in whatever a file holds, those records are found that a search which tries each byte finds") {
    std::mt19937 random(tests::seed());
    auto const below = [&](std::size_t limit) { return static_cast<std::size_t>(random() % limit); };
    for (int round = 0; round < 60; ++round) {
        std::string bytes("TFSPILL\x01", 8);
        // Claims that do not hold, with lengths to short of, up to and past the end; records, in the claims or after
        // them; records in records; noise; copies, which are out of place.
        std::size_t const size = 1000 + below(round % 6 == 0 ? 150'000 : 5'000);
        std::size_t const rest = round % 2 == 0 ? 600 : size;
        while (bytes.size() < size) {
            switch (below(8)) {
                case 0: bytes += false_prefix(below(rest)).substr(0, 8 + below(5)); break;
                case 1: bytes += std::string(below(40), '\xF5'); break;
                case 2: bytes += record_at(bytes.size(), std::string(below(3) * below(rest) / 4, 'x')); break;
                case 3: {
                    auto inside = false_prefix(below(rest)) + std::string(below(700), 'y');
                    inside += record_at(bytes.size() + prefix + inside.size(), "inside");
                    auto outside = record_at(bytes.size(), inside + std::string(below(300), 'z'));
                    if (below(2) == 0) outside[8] ^= 1;
                    bytes += outside;
                    break;
                }
                case 4: {
                    // A claim that reaches over records, and holds although the one before does not.
                    auto inside = record_at(bytes.size() + 2 * prefix, "over") + std::string(below(rest), 'o');
                    bytes += false_prefix(below(rest)) + record_at(bytes.size() + prefix, inside);
                    break;
                }
                case 5: {
                    // What was removed is whole in there, and something that claims to be a gap is none.
                    auto const inside = record_at(bytes.size() + prefix, "removed") + std::string(below(rest), 'g');
                    auto gap = gap_at(bytes.size(), inside);
                    if (below(3) == 0) gap[below(prefix)] ^= 1;
                    bytes += gap;
                    break;
                }
                case 6: bytes += gap_at(bytes.size(), ""); break;
                default: bytes += bytes.substr(below(bytes.size()), below(200));
            }
        }
        auto const right = search(bytes);
        memory_file file(bytes);
        auto const result = read_memory(file);
        if (result.all != right.all) FAIL("round " << round << " of seed " << tests::seed());
        CHECK(result.report == right.report);
    }
}

TEST_CASE("spill: records longer than is read at once are found between claims that are as long") {
    std::size_t const large = 2'500'000;
    std::string bytes("TFSPILL\x01", 8);
    std::string const payload = false_prefix(large) + std::string(large, 'l');
    bytes += record_at(bytes.size(), payload);
    bytes += false_prefix(large - 100) + false_prefix(large) + false_prefix(300'000);
    bytes += record_at(bytes.size(), payload);
    bytes += false_prefix(large) + record_at(bytes.size() + prefix, "the last");
    memory_file file(bytes);
    auto const result = read_memory(file);
    CHECK((result.all == records{payload, payload, "the last"}));  // not printed
    CHECK(result.report.damaged_bytes == 4 * prefix);
    CHECK(result.report.torn_bytes == 0);
}

TEST_CASE("spill: reading takes work that is a multiple of the file's size, whatever it holds") {
    using fill = std::function<std::string(std::size_t at, std::size_t size)>;
    auto const left = [](std::size_t at, std::size_t size) { return size > at + 40 ? size - at - 24 : 1; };
    auto const damaged = [](std::string record) {
        record[8] ^= 1;
        return record;
    };
    std::pair<char const*, fill> const kinds[] = {{"markers, each with a length to the end",
                                                   [&](std::size_t at, std::size_t size) {
                                                       return false_prefix(left(at, size));
                                                   }},
                                                  {"in each eighth byte, with ends all over the rest",
                                                   [&](std::size_t at, std::size_t size) {
                                                       return false_prefix(at * 2'654'435'761U % left(at, size))
                                                           .substr(0, 8);
                                                   }},
                                                  {"with ends that come nearer",
                                                   [&](std::size_t at, std::size_t size) {
                                                       return false_prefix(left(at, size) / 2).substr(0, 8);
                                                   }},
                                                  {"with a length of a block",
                                                   [](std::size_t, std::size_t) {
                                                       return false_prefix(256).substr(0, 8);
                                                   }},
                                                  {"with one more",
                                                   [](std::size_t, std::size_t) {
                                                       return false_prefix(257).substr(0, 8);
                                                   }},
                                                  {"with about a window's",
                                                   [](std::size_t,
                                                      std::size_t) { return false_prefix(60'000).substr(0, 8); }},
                                                  {"records, with a claim to the end behind each",
                                                   [&](std::size_t at, std::size_t size) {
                                                       return record_at(at, "whole") +
                                                              false_prefix(left(at, size)).substr(0, 8);
                                                   }},
                                                  {"records and one byte between",
                                                   [](std::size_t at, std::size_t) { return record_at(at, "") + "-"; }},
                                                  {"damaged records full of claims",
                                                   [&](std::size_t at, std::size_t size) {
                                                       std::string inside;
                                                       while (inside.size() < 2000)
                                                           inside += false_prefix(left(at, size) - inside.size() % 1000)
                                                                         .substr(0, 8);
                                                       return damaged(record_at(at, inside)) +
                                                              record_at(at + prefix + inside.size(), "whole");
                                                   }},
                                                  {"undamaged records of half a window",
                                                   [](std::size_t at, std::size_t) {
                                                       return record_at(at, std::string(40'000, 'r'));
                                                   }}};
    for (auto const& [name, next] : kinds) {
        for (std::size_t const size : {64U << 10, 128U << 10, 512U << 10}) {
            std::string bytes("TFSPILL\x01", 8);
            while (bytes.size() < size) bytes += next(bytes.size(), size);
            memory_file file(bytes);
            tidefall::detail::spill_input<memory_file> in(file, file.size());
            std::string payload;
            for (std::uint64_t at = header; at < bytes.size();) at = in.next(at, payload).end;
            // Two blocks, a prefix and some for each eighth byte, read and checksummed, are 80 times the size.
            auto const work = file.bytes_read + in.checksummed();
            INFO(name << ", " << size << " bytes: " << work / bytes.size() << " times the size");
            CHECK(work < 80 * bytes.size());
        }
    }
    // Where nothing is damaged, each byte is read once, and checksummed once with its place and length.
    std::string bytes("TFSPILL\x01", 8);
    while (bytes.size() < 1'000'000) bytes += record_at(bytes.size(), std::string(bytes.size() % 100'000, 'r'));
    memory_file file(bytes);
    CHECK(read_memory(file).report.damaged_bytes == 0);
    CHECK(file.bytes_read <= bytes.size() + bytes.size() / 100);
}

TEST_CASE("spill: a claim that does not hold takes no memory for what it claims") {
    std::string const bytes = "TFSPILL\x01" + false_prefix(16'000'000) + std::string(16'000'000, 'm');
    memory_file file(bytes);
    tidefall::detail::spill_input<memory_file> in(file, file.size());
    std::string payload;
    CHECK(!in.read_record(header, payload));
    CHECK(in.find_record(header + 1, payload) == bytes.size());
    CHECK(payload.capacity() < 2'000'000);
}

TEST_CASE("spill: a file that cannot be read is an error, and not damage") {
    memory_file file("TFSPILL\x01" + record_at(header, "a"));
    file.fault = std::make_error_code(std::errc::io_error);
    CHECK_THROWS_AS(read_memory(file), spill_error);
    file.fault = {};
    CHECK(read_memory(file).all == records{"a"});
    CHECK_THROWS_WITH(tidefall::detail::read_spill_records("in memory", file,
                                                           [&](std::string_view) {
                                                               file.fault = std::make_error_code(std::errc::io_error);
                                                               throw std::system_error(file.fault, "of the caller");
                                                           }),
                      ContainsSubstring("of the caller"));
}

TEST_CASE("spill: a damaged file that is full of claims is opened, and keeps what is whole") {
    temporary_directory const directory;
    auto const path = directory / "spill";
    std::string bytes("TFSPILL\x01", 8);
    while (bytes.size() < 100'000) bytes += false_prefix(200'000 - bytes.size()).substr(0, 8);
    bytes += record_at(bytes.size(), "whole");
    auto const whole = bytes.size();
    while (bytes.size() < 220'000) bytes += false_prefix(220'000 - bytes.size()).substr(0, 8);
    write_bytes(path, bytes);
    spill(path, {{"one more"}});
    CHECK(read(path).all == records{"whole", "one more"});
    CHECK(bytes_of(path).size() == whole + prefix + 8);
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
                    call(copy, batch);
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
    call(process, small);
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
        call(process, large);
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

    call(process, large);
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
        call(process, first);
        call(process, second);
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

namespace {

/// A child process, which says one character and waits before it ends. It ends by itself, or by its alarm.
class child_process {
public:
    /// Calls `f` in the child, once it is to, and has it say what that returns.
    template <typename F>
    explicit child_process(F f) {
        REQUIRE(::pipe(said_) == 0);
        REQUIRE(::pipe(told_) == 0);
        number_ = fork();
        if (number_ != 0) return;
        alarm(60);
        ::close(told_[1]);
        hear(told_[0]);
        char const answer = f();
        static_cast<void>(::write(said_[1], &answer, 1));
        hear(told_[0]);
        ::_exit(0);
    }
    child_process(child_process&&) = delete;
    ~child_process() {
        for (int const one : {said_[0], said_[1], told_[0], told_[1]}) ::close(one);
        kill();
    }

    void go() { static_cast<void>(::write(told_[1], "g", 1)); }

    /// '\0' if the child ended before.
    char answer() {
        ::close(std::exchange(said_[1], -1));
        return hear(said_[0]);
    }

    /// What it says when it is to go now.
    char answer_now() {
        go();
        return answer();
    }

    void kill() {
        if (number_ <= 0) return;
        ::kill(number_, SIGKILL);
        ::waitpid(std::exchange(number_, -1), nullptr, 0);
    }

private:
    static char hear(int from) {
        char one = '\0';
        while (::read(from, &one, 1) < 0 && errno == EINTR) {
        }
        return one;
    }

    pid_t number_ = -1;
    int said_[2] = {-1, -1};
    int told_[2] = {-1, -1};
};

/// 'y' if there is a file for this process, 'n' if there is none, 'x' if it is refused as in use.
char set_aside(fs::path const& path) {
    try {
        return set_aside_spill(path) ? 'y' : 'n';
    } catch (spill_error const& error) {
        return std::string_view(error.what()).find("it is in use") != std::string_view::npos ? 'x' : '?';
    }
}

/// 'y' if it can be opened, and is from then on; 'x' if it is refused as in use.
template <typename Process>
char open_spill_file(std::optional<Process>& to, fs::path const& path) {
    try {
        to.emplace(with_spill(fail, path, as_it_is, {.sync = false}));
        return 'y';
    } catch (spill_error const& error) {
        return std::string_view(error.what()).find("it is in use") != std::string_view::npos ? 'x' : '?';
    }
}

using spilling_process = decltype(with_spill(fail, fs::path(), as_it_is));

mode_t mode_of(fs::path const& path) {
    struct stat status {};
    REQUIRE(::stat(path.c_str(), &status) == 0);
    return status.st_mode & 07777;
}

}  // namespace

TEST_CASE("spill: a file that is made is its owner's alone, one that is there keeps its mode") {
    temporary_directory const directory;
    auto const previous = ::umask(0);
    spill(directory / "made", {{"a"}});
    ::umask(previous);
    CHECK(mode_of(directory / "made") == 0600);
    REQUIRE(::chmod((directory / "made").c_str(), 0640) == 0);
    spill(directory / "made", {{"b"}});
    CHECK(mode_of(directory / "made") == 0640);
}

TEST_CASE("spill: no file is opened through a symbolic link, nor is what is no file") {
    temporary_directory const directory;
    auto const path = directory / "spill";
    auto const open = [&] { with_spill(fail, path, as_it_is); };
    auto const elsewhere = directory / "elsewhere";
    using tidefall::detail::spill_output;
    spill_output output;
    tidefall::detail::spill_reader reader;
    for (bool const is_there : {false, true}) {
        if (is_there) spill(elsewhere, {{"theirs"}});
        fs::create_symlink(elsewhere, path);
        CHECK_THROWS_WITH(open(), ContainsSubstring("spill cannot be opened: it is a symbolic link"));
        CHECK_THROWS_WITH(read(path), ContainsSubstring("spill cannot be read: it is a symbolic link"));
        CHECK_THROWS_WITH(set_aside_spill(path), ContainsSubstring("spill cannot be set aside: it is a symbolic link"));
        // Where it became one since that was looked at.
        CHECK(output.open(path, spill_output::if_missing::make_it));
        CHECK(reader.open(path));
        CHECK(fs::exists(elsewhere) == is_there);
        fs::rename(path, directory / "spill.replay");
        CHECK_THROWS_WITH(set_aside_spill(path),
                          ContainsSubstring("spill.replay cannot be set aside: it is a symbolic link"));
        fs::remove(directory / "spill.replay");
    }
    CHECK(read(elsewhere).all == records{"theirs"});

    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    CHECK_THROWS_WITH(open(), ContainsSubstring("spill cannot be opened: it is not a regular file"));
    CHECK_THROWS_WITH(set_aside_spill(path), ContainsSubstring("spill cannot be set aside: it is not a regular file"));
    CHECK(output.open(path, spill_output::if_missing::make_it) == std::errc::operation_not_supported);
    CHECK(reader.open(path) == std::errc::operation_not_supported);  // and does not wait for the other end
    fs::remove(path);

    // A directory may be a link: it is for those who may write there to say what it holds.
    fs::create_directory(directory / "real");
    fs::create_directory_symlink(directory / "real", directory / "linked");
    spill(directory / "linked/spill", {{"a"}});
    CHECK(read(directory / "real/spill").all == records{"a"});
}

TEST_CASE("spill: what is set aside is one process's") {
    temporary_directory const directory;
    auto const path = directory / "spill";
    auto const aside = directory / "spill.replay";
    auto const other = [&] { return child_process([&] { return set_aside(path); }).answer_now(); };
    bool const is_left = GENERATE(false, true);
    spill(path, {{"a"}});
    if (is_left) fs::rename(path, aside);

    CHECK(set_aside_spill(path) == aside);
    CHECK(other() == 'x');
    CHECK(set_aside_spill(path) == aside);  // its own
    CHECK(read(aside).all == records{"a"});
    {
        std::optional<spilling_process> process;
        REQUIRE(open_spill_file(process, path) == 'y');
        CHECK(other() == 'x');  // its is what was set aside, as long as this is open
        // Nothing else has it open, and keeps its room on the disk once it is removed.
        tidefall::detail::spill_output file;
        CHECK(!file.open(aside, tidefall::detail::spill_output::if_missing::fail));
    }
    {
        child_process second([&] { return set_aside(path); });
        CHECK(second.answer_now() == 'y');
        CHECK(set_aside(path) == 'x');
        second.kill();
    }
    CHECK(set_aside_spill(path) == aside);  // left from a crash
    fs::remove(aside);
    CHECK(set_aside_spill(path) == aside);  // what with_spill made
    CHECK(read(aside).all.empty());
    fs::remove(aside);
    CHECK(other() == 'n');
}

TEST_CASE("spill: of processes that come at once one has the file") {
    temporary_directory const directory;
    auto const path = directory / "spill";
    auto const kind = GENERATE(0, 1, 2);
    for (int round = 0; round < 20; ++round) {
        spill(path, {{"a"}});
        if (kind == 1) fs::rename(path, directory / "spill.replay");
        std::vector<std::unique_ptr<child_process>> all;
        for (int i = 0; i < 4; ++i) {
            all.push_back(std::make_unique<child_process>([&] {
                if (kind != 2) return set_aside(path);
                std::optional<spilling_process> process;
                auto const answer = open_spill_file(process, path);
                if (process) new std::optional<spilling_process>(std::move(process));  // stays open
                return answer;
            }));
        }
        for (auto const& one : all) one->go();
        std::string answers;
        for (auto const& one : all) answers += one->answer();
        INFO(answers);
        CHECK(std::count(answers.begin(), answers.end(), 'y') == 1);
        CHECK(answers.find_first_not_of("ynx") == std::string::npos);
        all.clear();
        fs::remove(path);
        fs::remove(directory / "spill.replay");
    }
}

TEST_CASE("spill: a child that was forked off has no part in its parent's file, and keeps it from nobody") {
    temporary_directory const directory;
    auto const path = directory / "spill";
    records const batch{"a"};
    std::optional<spilling_process> process;
    REQUIRE(open_spill_file(process, path) == 'y');
    {
        child_process child([&] {
            try {
                call(*process, batch);
                return 'w';
            } catch (spill_error const&) {
                process.reset();
                return 'r';
            }
        });
        CHECK(child.answer_now() == 'r');
        std::optional<spilling_process> second;
        CHECK(open_spill_file(second, path) == 'x');  // the child closed it, and unlocked nothing
        call(*process, batch);
        CHECK(read(path).all == records{"a"});
    }
    child_process const idle([] { return 'i'; });
    process.reset();
    CHECK(open_spill_file(process, path) == 'y');  // although a child has the file open still
}

#endif
#if defined(TIDEFALL_TEST_CALLS)

namespace {

/// What the calls below do instead, on this thread.
thread_local int interrupted = 0;  ///< so many calls are interrupted first
thread_local std::vector<std::string> calls;
thread_local std::function<void()> before_lock;
thread_local std::function<void()> before_sync;

bool is_interrupted(char const* call) {
    calls.emplace_back(call);
    if (interrupted == 0) return false;
    --interrupted;
    errno = EINTR;
    return true;
}

/// Of a child that is to end in the midst of so many writes to its file, the last one of them; 0: it goes on.
int writes_to_live = 0;

}  // namespace

extern "C" ssize_t pwrite(int file, void const* bytes, size_t count, off_t at) {
    bool const is_last = writes_to_live > 0 && --writes_to_live == 0;
    auto const written = ::syscall(SYS_pwrite64, file, bytes, is_last ? count / 2 : count, at);
    if (is_last) ::_exit(9);
    return static_cast<ssize_t>(written);
}
extern "C" int fsync(int file) {
    if (is_interrupted("fsync")) return -1;
    if (auto const act = std::exchange(before_sync, nullptr)) act();
    return static_cast<int>(::syscall(SYS_fsync, file));
}
extern "C" int ftruncate(int file, off_t size) noexcept {
    if (writes_to_live > 0 && --writes_to_live == 0) ::_exit(9);
    return is_interrupted("ftruncate") ? -1 : static_cast<int>(::syscall(SYS_ftruncate, file, size));
}
extern "C" int flock(int file, int what) noexcept {
    if (is_interrupted("flock")) return -1;
    if (auto const act = std::exchange(before_lock, nullptr)) act();
    return static_cast<int>(::syscall(SYS_flock, file, what));
}

TEST_CASE("spill: a call that a signal interrupts is made again") {
    temporary_directory const directory;
    auto const path = directory / "spill";
    records const batch{"a"};
    interrupted = 2;
    before_sync = [] { interrupted = 2; };
    calls.clear();
    auto process = with_spill(fail, path, as_it_is);
    // The file's, and its directory's.
    CHECK(calls == records{"flock", "flock", "flock", "fsync", "fsync", "fsync", "fsync"});
    interrupted = 2;
    calls.clear();
    call(process, batch);
    CHECK(calls == records{"fsync", "fsync", "fsync"});
    CHECK(read(path).all == records{"a"});

    auto const torn = directory / "torn";
    write_bytes(torn, "TFSPILL");
    interrupted = 0;
    before_lock = [] { interrupted = 2; };
    calls.clear();
    auto const second = with_spill(fail, torn, as_it_is, {.sync = false});
    CHECK(calls == records{"flock", "ftruncate", "ftruncate", "ftruncate"});
    CHECK(bytes_of(torn).size() == header);
}

TEST_CASE("spill: a process that ends within any of its writes to the file loses nothing that is in it") {
    std::size_t ends = 0;
    for (int writes = 1;; ++writes) {
        temporary_directory const directory;
        auto const path = directory / "spill";
        auto const log = directory / "log";
        auto const open = [&] {
            return tidefall::open_spill<std::string>(path, as_it_is,
                                                     [](std::string_view record) { return std::string(record); },
                                                     {.sync = false, .max_bytes = 700});  // gaps have to be closed
        };
        auto const run = [&](int alive_for) {
            std::ofstream told(log);
            writes_to_live = alive_for;
            auto const spill = open();
            for (int round = 0; round < 12; ++round) {
                records batch;
                for (int i = 0; i < 5; ++i) batch.push_back(std::to_string(round * 5 + i));
                spill->undelivered()(batch, {});
                for (auto const& one : batch) told << "safe " << one << '\n';
                told.flush();
                int offers = 0;
                try {
                    spill->replay(
                        [&](std::span<std::string const> some) {
                            if (++offers > 1) throw 1;
                            tidefall::batch_result result;
                            result.reject(some.size() - 1);
                            for (auto const& one : some.first(some.size() - 1)) told << "taken " << one << '\n';
                            told.flush();
                            return result;
                        },
                        4);
                } catch (int) {
                }
            }
        };
        auto const child = fork();
        if (child == 0) {
            try {
                run(writes);
            } catch (...) {
                ::_exit(1);
            }
            ::_exit(0);
        }
        int status = 0;
        REQUIRE(waitpid(child, &status, 0) == child);
        REQUIRE(WIFEXITED(status));
        REQUIRE(WEXITSTATUS(status) != 1);
        std::set<std::string> safe;
        std::set<std::string> there;
        std::ifstream told(log);
        for (std::string what, which; told >> what >> which;) (what == "safe" ? safe : there).insert(which);
        if (fs::exists(path)) {
            for (auto const& one : read(path).all) there.insert(one);
        }
        if (!std::includes(there.begin(), there.end(), safe.begin(), safe.end())) FAIL("lost after write " << writes);
        // Another process goes on with the file.
        records again;
        open()->replay([&](std::span<std::string const> some) { again.insert(again.end(), some.begin(), some.end()); });
        CHECK(bytes_of(path).size() == header);
        for (auto const& one : again) CHECK(there.contains(one));
        if (WEXITSTATUS(status) == 0) break;
        ++ends;
    }
    CHECK(ends > 20);
}

TEST_CASE("spill: while a batch is written deliveries go on, and what makes room is not synced") {
    temporary_directory const directory;
    auto const spill = tidefall::open_spill<std::string>(directory / "spill", as_it_is,
                                                         [](std::string_view record) { return std::string(record); });
    records batch{"a"};
    auto const undelivered = spill->undelivered();
    undelivered(batch, {});
    auto process = with_spill([](std::span<std::string const>) {}, spill);
    bool delivered = false;
    before_sync = [&] {
        std::thread([&] {
            call(process, batch);  // asks whether something is to follow it
            delivered = true;
        }).join();
    };
    undelivered(batch, {.reason = tidefall::failure_reason::stopped});
    CHECK(delivered);
    before_sync = [] { FAIL("it is synced"); };
    undelivered(batch, {.reason = tidefall::failure_reason::overflow});
    before_sync = nullptr;
    CHECK(spill->stats().records == 3);
}

TEST_CASE("spill: a child that is forked off while a batch is written does not wait for its lock") {
    temporary_directory const directory;
    auto const path = directory / "spill";
    records const batch{"a"};
    auto process = with_spill(fail, path, as_it_is);
    std::optional<child_process> child;
    before_sync = [&] {
        child.emplace([&] {
            try {
                call(process, batch);
                return 'w';
            } catch (spill_error const&) {
                return 'r';
            }
        });
    };
    call(process, batch);
    REQUIRE(child);
    CHECK(child->answer_now() == 'r');
    CHECK(read(path).all == records{"a"});
}

TEST_CASE("spill: a file that is renamed while it is opened is left alone, and another is made") {
    temporary_directory const directory;
    auto const path = directory / "spill";
    spill(path, {{"old"}});
    before_lock = [&] { fs::rename(path, directory / "spill.replay"); };
    spill(path, {{"new"}});
    CHECK(read(path).all == records{"new"});
    CHECK(read(directory / "spill.replay").all == records{"old"});
}

TEST_CASE("spill: what another process sets aside meanwhile is not lost") {
    temporary_directory const directory;
    auto const path = directory / "spill";
    spill(path, {{"theirs"}});
    spill(directory / "later", {{"later"}});
    // After the look at the name, and before the lock, another process sets the file aside, spills, and crashes.
    before_lock = [&] {
        fs::rename(path, directory / "spill.replay");
        fs::rename(directory / "later", path);
    };
    auto const old = set_aside_spill(path);
    REQUIRE(old);
    CHECK(read(*old).all == records{"theirs"});
    CHECK(read(path).all == records{"later"});
}

#endif
