// SPDX-License-Identifier: MIT
//
// A program that writes to SQLite through a spill file, and is killed at any point of its run: what it said to be safe
// is in the table or in the file.
#include "../support/catch.hpp"
#include "../support/files.hpp"
#include "../support/stress.hpp"

#include <tidefall/decorators.hpp>
#include <tidefall/queue.hpp>

#include <sqlite3.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <map>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>

namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace {

constexpr int in_a_round = 20;

/// A table of numbers.
class database {
public:
    explicit database(fs::path const& path) {
        require(sqlite3_open(path.c_str(), &handle_));
        execute("PRAGMA journal_mode=WAL");
        execute("PRAGMA synchronous=OFF");  // a kill ends the process alone
        execute("CREATE TABLE IF NOT EXISTS stored (number INTEGER)");
        require(sqlite3_prepare_v2(handle_, "INSERT INTO stored VALUES (?)", -1, &insert_, nullptr));
    }
    database(database const&) = delete;
    database& operator=(database const&) = delete;
    ~database() {
        sqlite3_finalize(insert_);
        sqlite3_close(handle_);
    }

    void store(std::span<int const> batch) {
        execute("BEGIN");
        for (int const number : batch) {
            require(sqlite3_bind_int(insert_, 1, number));
            if (sqlite3_step(insert_) != SQLITE_DONE) throw std::runtime_error(sqlite3_errmsg(handle_));
            require(sqlite3_reset(insert_));
        }
        execute("COMMIT");
    }

    /// Adds how often each number is there.
    void count_in(std::map<int, int>& all) const {
        auto const add = [](void* to, int, char** columns, char**) {
            ++(*static_cast<std::map<int, int>*>(to))[std::stoi(columns[0])];
            return 0;
        };
        require(sqlite3_exec(handle_, "SELECT number FROM stored", add, &all, nullptr));
    }

private:
    void execute(char const* what) const { require(sqlite3_exec(handle_, what, nullptr, nullptr, nullptr)); }
    void require(int result) const {
        if (result != SQLITE_OK) throw std::runtime_error(sqlite3_errmsg(handle_));
    }

    sqlite3* handle_ = nullptr;
    sqlite3_stmt* insert_ = nullptr;
};

struct places {
    explicit places(tests::temporary_directory const& directory)
        : table(directory / "stored.db"), spill(directory / "numbers.spill") {}
    fs::path table;
    fs::path spill;
};

/// How often each number is in the table or in the file.
std::map<int, int> found(places const& at) {
    std::map<int, int> all;
    database(at.table).count_in(all);
    if (fs::exists(at.spill)) {
        tidefall::read_spill(at.spill, [&](std::string_view record) { ++all[std::stoi(std::string(record))]; });
    }
    return all;
}

/// Writes rounds of numbers, and says `done(rounds)` once a round has its outcome. The sink fails so often of two
/// times.
template <typename Done>
void run(places const& at, int first, int rounds, std::uint32_t seed, unsigned failures_of_two, Done done) {
    database to(at.table);
    std::mt19937 random(seed);
    auto const spill = tidefall::open_spill<int>(
        at.spill, [](int number) { return std::to_string(number); },
        [](std::string_view record) { return std::stoi(std::string(record)); }, {.sync = false});
    auto const sink = tidefall::serialised([&](std::span<int const> batch) {
        if (random() % 2 < failures_of_two) throw std::runtime_error("the sink fails");
        to.store(batch);
    });
    tidefall::queue<int> numbers(
        {.partitions = 2, .processing_interval = 1ms, .processing_batch_size = 8},
        tidefall::with_spill(tidefall::with_retry(sink, {.attempts = 2, .first_delay = 1ms}), spill),
        spill->undelivered());
    for (int round = 0; round < rounds; ++round) {
        for (int i = 0; i < in_a_round; ++i) {
            numbers.push(first + round * in_a_round + i, tidefall::partition_key{i});
        }
        if (!numbers.flush().complete) throw std::runtime_error("a flush did not end");
        done(round + 1);
    }
    numbers.stop();
}

}  // namespace

TEST_CASE("killed: what a program said to be safe is in the table or in the spill file, wherever it is killed") {
    tests::temporary_directory const directory;
    places const at(directory);
    std::mt19937 random(tests::seed());
    auto const kills = static_cast<int>(tests::unless_sanitized(200, 10));
    int next = 0;
    std::map<int, int> safe;
    for (int kill = 0; kill < kills; ++kill) {
        int said[2] = {};
        REQUIRE(::pipe(said) == 0);
        auto const seed = static_cast<std::uint32_t>(random());
        auto const child = fork();
        if (child == 0) {
            ::close(said[0]);
            try {
                run(at, next, 1'000'000, seed, 1, [&](int) { static_cast<void>(::write(said[1], "d", 1)); });
            } catch (...) {
            }
            ::_exit(1);
        }
        ::close(said[1]);
        auto const rounds = random() % 4;
        char one = 0;
        int done = 0;
        while (done < static_cast<int>(rounds) && ::read(said[0], &one, 1) == 1) ++done;
        std::this_thread::sleep_for(std::chrono::microseconds(random() % 3000));  // any point will do
        ::kill(child, SIGKILL);
        while (::read(said[0], &one, 1) == 1) ++done;
        ::close(said[0]);
        int status = 0;
        REQUIRE(waitpid(child, &status, 0) == child);
        REQUIRE(WIFSIGNALED(status));
        for (int i = 0; i < done * in_a_round; ++i) safe[next + i] = 1;
        next += (done + 1000) * in_a_round;  // nothing is written twice
        auto const all = found(at);
        for (auto const& [number, count] : safe) {
            if (!all.contains(number)) FAIL("number " << number << " is lost after kill " << kill);
        }
    }
    // With a sink that is up, what is in the file goes back.
    run(at, next, 50 + static_cast<int>(tidefall::read_spill(at.spill, [](std::string_view) {}).records) / 64, 1, 0,
        [](int) {});
    CHECK(tidefall::read_spill(at.spill, [](std::string_view) {}).records == 0);
    std::map<int, int> stored;
    database(at.table).count_in(stored);
    for (auto const& [number, count] : safe) {
        if (!stored.contains(number)) FAIL("number " << number << " is not in the table in the end");
    }
    CHECK(stored.size() >= safe.size());
}

TEST_CASE("killed: where a program is not killed each value is in the table, or in the spill file, once") {
    tests::temporary_directory const directory;
    places const at(directory);
    auto const rounds = static_cast<int>(tests::unless_sanitized(250, 5));
    run(at, 0, rounds, tests::seed(), 1, [](int) {});
    run(at, rounds * in_a_round, rounds, tests::seed() + 1, 1, [](int) {});
    auto const all = found(at);
    CHECK(all.size() == static_cast<std::size_t>(2 * rounds * in_a_round));
    for (auto const& [number, count] : all) {
        if (count != 1) FAIL("number " << number << " is there " << count << " times");
    }
}
