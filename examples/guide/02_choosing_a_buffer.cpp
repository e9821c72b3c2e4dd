// SPDX-License-Identifier: MIT
//
// The code of 02_choosing_a_buffer.md.
#include "check.hpp"

#include <tidefall/hash_map.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>

#include <chrono>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

using namespace std::chrono_literals;

struct request {
    std::string path;
    int priority = 0;
};

using count = tidefall::entry<std::string, std::int64_t>;  // what a map of that key and value delivers

void every_item() {
    auto clock = tidefall::make_manual_runtime();
    std::vector<std::string> seen;
    tidefall::queue<request> requests(
        {.name = "requests", .partitions = 1, .processing_interval = 1s, .runtime = clock},
        [&](std::span<request> batch) {
            for (auto& one : batch) seen.push_back(one.path);
        });

    requests.push({"/home"});
    requests.push({"/cart"});
    requests.push({"/home"});
    clock->advance(1s);
    check(seen == std::vector<std::string>{"/home", "/cart", "/home"});
}

void one_entry_a_key() {
    auto clock = tidefall::make_manual_runtime();
    std::map<std::string, std::int64_t> table;  // stands for one in a database
    tidefall::hash_map<std::string, std::int64_t> totals(
        {.name = "totals", .partitions = 1, .processing_interval = 1s, .runtime = clock}, [&](std::span<count> batch) {
            for (auto& one : batch) table[one.key] += one.value;
        });

    totals.update("/home", [](std::int64_t& requests) { ++requests; });
    totals.update("/cart", [](std::int64_t& requests) { ++requests; });
    totals.update("/home", [](std::int64_t& requests) { ++requests; });
    check(totals.size() == 2 && totals.get("/home") == 2);
    clock->advance(1s);
    check(table["/home"] == 2);

    totals.update("/home", [](std::int64_t& requests) { ++requests; });  // the next tick starts from nothing
    clock->advance(1s);
    check(table["/home"] == 3);
}

void last_state() {
    auto clock = tidefall::make_manual_runtime();
    std::map<std::string, std::int64_t> table;
    tidefall::hash_map<std::string, std::int64_t> stock(
        {.name = "stock", .partitions = 1, .processing_interval = 1s, .runtime = clock}, [&](std::span<count> batch) {
            for (auto& one : batch) table[one.key] = one.value;
        });

    stock.put("apples", 7);
    stock.put("apples", 5);  // the last write wins

    check(stock.put_newer("pears", 3, 41) == tidefall::write_status::accepted);
    check(stock.put_newer("pears", 9, 40) == tidefall::write_status::stale);  // the newest version wins
    clock->advance(1s);
    check(table["apples"] == 5 && table["pears"] == 3);
}

void orders() {
    auto clock = tidefall::make_manual_runtime();
    std::vector<int> seen;
    tidefall::queue<request, tidefall::sorted_by<&request::priority>> jobs(
        {.name = "jobs", .partitions = 1, .processing_interval = 1s, .runtime = clock}, [&](std::span<request> batch) {
            for (auto& one : batch) seen.push_back(one.priority);
        });
    jobs.push({"/report", 3});
    jobs.push({"/alarm", 1});
    clock->advance(1s);
    check(seen == std::vector{1, 3});
}

void routes() {
    auto clock = tidefall::make_manual_runtime();
    tidefall::queue<request> requests({.name = "requests", .partitions = 4, .runtime = clock},
                                      [](std::span<request const>) {});
    // All requests of a path in one partition, in order, whichever thread pushes them.
    request one{"/home"};
    requests.push(one, tidefall::partition_key{one.path});
    requests.push_range(std::vector<request>{{"/home"}, {"/home"}}, tidefall::partition_by{&request::path});

    std::size_t partitions_in_use = 0;
    for (std::size_t i = 0; i < requests.partitions(); ++i) partitions_in_use += requests.partition(i).size() > 0;
    check(partitions_in_use == 1 && requests.size() == 3);
}

int main() {
    every_item();
    one_entry_a_key();
    last_state();
    orders();
    routes();
}
