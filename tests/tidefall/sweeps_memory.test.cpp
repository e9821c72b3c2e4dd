// SPDX-License-Identifier: MIT
//
// `sweeps` with allocations that fail, wherever one is: in the library or beside it.
#include "../support/allocations.hpp"
#include "../support/catch.hpp"
#include "../support/sweep.hpp"

#include <cstddef>
#include <vector>

using tests::sweep::trigger;

namespace {

std::vector<trigger> const allocation{{"allocation", [](std::size_t nth) { tests::fail_allocation(nth); },
                                       [] {
                                           bool const fired = !tests::allocation_is_to_fail();
                                           tests::fail_allocation(0);
                                           return fired;
                                       },
                                       [] { return tests::allocated().live_bytes; }, false}};

}  // namespace

TEST_CASE("sweeps memory: an allocation that fails in a write, a look-up or an erasure") {
    CHECK(tests::sweep::writes(allocation).triggers.at("allocation") > 0);
}

TEST_CASE("sweeps memory: an allocation that fails in a drain") {
    CHECK(tests::sweep::drains(allocation).triggers.at("allocation") > 0);
}

TEST_CASE("sweeps memory: an allocation that fails in a construction, with and without threads") {
    CHECK(tests::sweep::constructions(allocation, false).triggers.at("allocation") > 0);
    CHECK(tests::sweep::constructions(allocation, true).triggers.at("allocation") > 0);
}
