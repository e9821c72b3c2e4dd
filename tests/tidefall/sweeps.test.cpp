// SPDX-License-Identifier: MIT
//
// Whatever code of the user throws, in whichever operation of a buffer, at whichever of its turns: a write is all or
// nothing, every value has one outcome, the counters add up and nothing leaks. `sweeps_memory` does the same with
// allocations.
#include "../support/catch.hpp"
#include "../support/sweep.hpp"
#include "../support/tracked.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <vector>

using tests::alive;
using tests::fault;
using tests::site;
using tests::sweep::trigger;

namespace {

struct named {
    char const* name;
    site where;
};

std::vector<trigger> triggers(std::initializer_list<named> sites) {
    std::vector<trigger> all;
    for (auto const& one : sites) {
        all.push_back({one.name, [where = one.where](std::size_t nth) { fault::arm(where, nth); },
                       [] {
                           bool const fired = fault::at != site::nowhere && fault::until == 0;
                           fault::disarm();
                           return fired;
                       },
                       [] { return std::int64_t{alive::count.load()}; },
                       one.where == site::hook || one.where == site::undelivered});
    }
    return all;
}

void check_that_all_fired(std::map<std::string, std::size_t> const& counts) {
    // What runs no code that may throw.
    std::vector<std::string> const safe{"of what moves without throwing: push of an rvalue",
                                        "of what moves without throwing: push_range of an rvalue"};
    for (auto const& [name, count] : counts) {
        INFO(name);
        CHECK((count > 0) == (std::find(safe.begin(), safe.end(), name) == safe.end()));
    }
}

}  // namespace

TEST_CASE("sweeps: user code that throws in a write, a look-up or an erasure") {
    auto const fired = tests::sweep::writes(triggers({
        {"hash", site::hash},
        {"equality", site::equal},
        {"construction of a key", site::make_key},
        {"copy of a key", site::copy_key},
        {"construction of a value", site::make_value},
        {"copy of a value", site::copy_value},
        {"move of a value", site::move_value},
        {"construction of a version", site::make_version},
        {"copy of a version", site::copy_version},
        {"comparison of versions", site::compare_versions},
        {"function of update", site::change},
        {"construction of a sort key", site::make_sort_key},
        {"copy of a sort key", site::copy_sort_key},
        {"move of a sort key", site::move_sort_key},
        {"function of a tag", site::project},
        {"iterator", site::iterate},
        {"processor", site::process},
        {"undelivered", site::undelivered},
        {"hook", site::hook},
    }));
    check_that_all_fired(fired.triggers);
    check_that_all_fired(fired.operations);
}

TEST_CASE("sweeps: user code that throws in a drain") {
    auto const fired = tests::sweep::drains(triggers({
        {"projection", site::project},
        {"comparison", site::compare},
        {"move of a value", site::move_value},
        {"processor", site::process},
        {"undelivered", site::undelivered},
        {"hook", site::hook},
    }));
    check_that_all_fired(fired.triggers);
    check_that_all_fired(fired.operations);
}

TEST_CASE("sweeps: user code that throws in a construction") {
    auto const fired = tests::sweep::constructions(
        triggers({{"copy of a callable", site::copy_callable}, {"hook", site::hook}}), false);
    check_that_all_fired(fired.triggers);
    check_that_all_fired(fired.operations);
}
