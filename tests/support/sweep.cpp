// SPDX-License-Identifier: MIT
#include "sweep.hpp"

#include "catch.hpp"
#include "common.hpp"
#include "tracked.hpp"

#include <tidefall/manual_runtime.hpp>
#include <tidefall/telemetry.hpp>

#include <algorithm>
#include <new>
#include <ostream>
#include <utility>

namespace tests::sweep {
namespace {

using namespace std::chrono_literals;
using tidefall::buffer_stats;

constexpr std::size_t bulk = 6;

struct {
    trigger const* which = nullptr;
    std::size_t nth = 0;
} armed;

/// Runs `act` with the trigger; says whether it failed, and whether an exception came out.
struct attempt {
    bool fired = false;
    bool threw = false;

    template <typename Act>
    attempt(trigger const& which, std::size_t nth, Act act) {
        armed = {&which, nth};
        try {
            act();
        } catch (injected const&) {
            threw = true;
        } catch (std::bad_alloc const&) {
            threw = true;
        }
        armed = {};
        fired = which.disarm();
        CHECK((fired || !threw));
    }
};

class failing_hook final : public tidefall::telemetry_hook {
    void on_partition_start(tidefall::partition_start const&) override { fault::pass(site::hook); }
    void on_partition_stop(tidefall::partition_stop const&) override { fault::pass(site::hook); }
    void on_processing_start(tidefall::processing_start const&) override { fault::pass(site::hook); }
    void on_processing_stop(tidefall::processing_stop const&) override { fault::pass(site::hook); }
    void on_processing_exception(tidefall::processing_exception const&) override { fault::pass(site::hook); }
    void on_processing_failed(tidefall::processing_failed const&) override { fault::pass(site::hook); }
    void on_items_dropped(tidefall::items_dropped const&) override { fault::pass(site::hook); }
    void on_partition_full(tidefall::partition_full const&) override { fault::pass(site::hook); }
    void on_partition_room(tidefall::partition_room const&) override { fault::pass(site::hook); }
};

/// A buffer on a clock of its own, and what becomes of its values.
struct stage {
    std::shared_ptr<tidefall::manual_runtime> clock = tidefall::make_manual_runtime();
    notes seen;
    std::unique_ptr<scene> on;

    stage() = default;
    stage(subject const& of, form as, std::size_t fill) {
        on = of.make(options_of(of), as, seen);
        on->fill(fill);
    }
    tidefall::options options_of(subject const& of) const {
        auto how = of.how;
        how.runtime = clock;
        how.telemetry = std::make_shared<failing_hook>();
        return how;
    }
};

std::vector<row> sorted(std::vector<row> rows) {
    std::sort(rows.begin(), rows.end());
    return rows;
}
std::vector<row> together(std::vector<row> one, std::vector<row> const& other) {
    one.insert(one.end(), other.begin(), other.end());
    return sorted(std::move(one));
}

/// The stats and the rows of a buffer to which nothing happened but the writes of the first `count` values and, with
/// `again`, of all.
struct reference {
    buffer_stats written;
    std::vector<row> processed;
    std::vector<row> returned;
};

reference refer(subject const& of, std::size_t fill, std::size_t operation, std::size_t count, bool again) {
    auto const most = of.operations[operation].bulk ? bulk : 1;
    stage set(of, form::batches, fill);
    if (count > 0) set.on->run(operation, count);
    auto const written = set.on->stats();
    if (again) set.on->run(operation, most);
    set.clock->advance(5s);
    return {written, set.seen.processed, set.seen.returned};
}

/// One operation, one trigger.
std::size_t sweep_write(subject const& of, std::size_t fill, std::size_t operation, trigger const& which,
                        std::vector<reference> const& references) {
    bool const single = !of.operations[operation].bulk;
    std::size_t const most = single ? 1 : bulk;
    for (std::size_t n = 1;; ++n) {
        INFO("turn " << n);
        REQUIRE(n < 1'000);
        bool fired = false;
        auto const held = which.held();
        {
            stage set(of, form::batches, fill);
            auto const before = set.on->stats();
            attempt const tried(which, n, [&] { set.on->run(operation, most); });
            fired = tried.fired;
            auto after = set.on->stats();
            check_conservation(after);
            CHECK(after.pending == set.on->size());
            auto const accepted = static_cast<std::size_t>(after.accepted - before.accepted);
            CHECK((!tried.threw || !single || accepted == 0));
            REQUIRE(accepted <= most);
            bool const again = n % 2 == 0;
            auto const& expected = references[(tried.threw ? accepted : most) * 2 + (again ? 1 : 0)];
            CHECK(after.accepted == expected.written.accepted);
            CHECK(after.refused == expected.written.refused);
            bool const swallowed = tried.fired && !tried.threw;
            CHECK((!swallowed || which.in_hooks || of.drains_in_writes));
            CHECK(after.hook_failures - expected.written.hook_failures == (swallowed && which.in_hooks ? 1 : 0));
            after.hook_failures = expected.written.hook_failures;
            if (!of.drains_in_writes) CHECK((after == expected.written));

            if (again) set.on->run(operation, most);
            set.clock->advance(5s);
            auto const drained = set.on->stats();
            check_conservation(drained);
            CHECK(drained.pending + drained.in_flight == 0);
            auto const& seen = set.seen;
            CHECK(drained.processed == seen.processed.size());
            CHECK(drained.failed + drained.dropped == seen.returned.size());
            CHECK(together(seen.processed, seen.returned) == together(expected.processed, expected.returned));
            if (!of.drains_in_writes) {
                CHECK(seen.returned == expected.returned);
                CHECK((of.ordered ? seen.processed : sorted(seen.processed)) ==
                      (of.ordered ? expected.processed : sorted(expected.processed)));
            } else if (!swallowed) {
                CHECK(seen.returned.empty());
            }
        }
        CHECK(which.held() == held);
        if (!fired) return n - 1;
    }
}

struct drain {
    char const* name;
    bool ends;  ///< the buffer takes no write after it
    void (*run)(stage&);
};
drain const ways_to_drain[] = {
    {"flush", false, [](stage& set) { set.on->flush(); }},
    {"tick", false, [](stage& set) { set.clock->advance(5s); }},
    {"update_options", false,
     [](stage& set) {
         set.on->update_options({.processing_batch_size = 7, .drain_threshold = 1});
         set.clock->advance(0s);
         set.on->update_options({.drain_threshold = std::optional<std::size_t>()});
     }},
    {"stop", true, [](stage& set) { set.on->stop(60s); }},
    {"stop at once", true, [](stage& set) { set.on->stop(0s); }},
    {"destruction", true, [](stage& set) { set.on.reset(); }},
};

std::size_t sweep_drain(subject const& of, form as, bool fails, drain const& way, trigger const& which) {
    std::size_t const fill = of.fills.back();
    std::vector<row> all;
    buffer_stats filled;
    {
        stage set(of, form::batches, fill);
        filled = set.on->stats();
        set.on->flush();
        all = together(set.seen.processed, set.seen.returned);
    }
    for (std::size_t n = 1;; ++n) {
        INFO("turn " << n);
        REQUIRE(n < 10'000);
        bool fired = false;
        auto const held = which.held();
        {
            stage set(of, as, fill);
            auto const& seen = set.seen;
            set.seen.fails_on_1 = fails;
            attempt const tried(which, n, [&] {
                begin();
                way.run(set);
            });
            fired = tried.fired;
            // Whole tables that threw are lost, batches are handed back.
            auto const has_outcome = [&] {
                auto const back = sorted(seen.returned);
                auto const lost = sorted(seen.thrown);
                if (as == form::whole_table) return together(together(seen.processed, seen.returned), seen.thrown);
                CHECK(std::includes(back.begin(), back.end(), lost.begin(), lost.end()));
                return together(seen.processed, seen.returned);
            };
            auto const check_counters = [&] {
                auto const stats = set.on->stats();
                check_conservation(stats);
                auto const lost = as == form::whole_table ? seen.thrown.size() : 0;
                CHECK(stats.processed == seen.processed.size());
                CHECK(stats.failed + stats.dropped == seen.returned.size() + lost);
                CHECK(stats.hook_failures - filled.hook_failures == (fired && which.in_hooks ? 1 : 0));
            };
            if (set.on) {
                check_counters();
                CHECK(set.on->stats().pending + set.on->stats().in_flight == (tried.threw ? filled.pending : 0));
            }
            if (!tried.threw) CHECK(has_outcome() == all);
            if (!way.ends) {
                set.seen.fails_on_1 = false;
                set.on->flush();
                CHECK(has_outcome() == all);
                auto const not_rejected = [&](row const& one) {
                    return as != form::parts_with_token || one.key % 3 != 2;
                };
                auto const count_lost = [&] {
                    auto const returned = std::count_if(seen.returned.begin(), seen.returned.end(), not_rejected);
                    return static_cast<std::size_t>(returned) + seen.thrown.size();
                };
                auto const lost = count_lost();
                auto const processed = seen.processed.size();
                auto const ticks = set.on->stats().ticks;
                set.on->fill(4);
                set.on->flush();
                CHECK(count_lost() == lost);
                CHECK(seen.processed.size() > processed);
                CHECK(set.on->stats().ticks > ticks);
                check_counters();
            }
            if (set.on) set.on->stop(60s);
        }
        CHECK(which.held() == held);
        if (!fired) return n - 1;
    }
}

}  // namespace

void begin() {
    if (armed.which != nullptr) armed.which->arm(armed.nth);
}

notes::notes() {
    for (auto* const rows : {&processed, &returned, &thrown}) rows->reserve(200);
}

std::ostream& operator<<(std::ostream& to, row const& one) {
    return to << '(' << one.key << ' ' << one.value << ' ' << one.version << ' ' << one.updates << ')';
}

report writes(std::vector<trigger> const& triggers) {
    report fired;
    for (auto const& of : subjects()) {
        for (auto const fill : of.fills) {
            for (std::size_t operation = 0; operation < of.operations.size(); ++operation) {
                auto const& each = of.operations[operation];
                std::vector<reference> references;
                for (std::size_t count = 0; count <= (each.bulk ? bulk : 1); ++count) {
                    for (bool const again : {false, true}) {
                        references.push_back(refer(of, fill, operation, count, again));
                    }
                }
                for (auto const& which : triggers) {
                    INFO(of.name << ": " << each.name << " beside " << fill << ", failing: " << which.name);
                    auto const times = sweep_write(of, fill, operation, which, references);
                    fired.triggers[which.name] += times;
                    fired.operations[of.name + ": " + each.name] += times;
                }
            }
        }
    }
    return fired;
}

report drains(std::vector<trigger> const& triggers) {
    report fired;
    for (auto const& of : subjects()) {
        for (auto const as : {form::batches, form::parts_with_token, form::later, form::whole_table}) {
            for (bool const fails : {false, true}) {
                for (auto const& way : ways_to_drain) {
                    for (auto const& which : triggers) {
                        if (fails && !which.in_hooks) continue;  // it has hooks and `undelivered` called
                        INFO(of.name << ": " << way.name << ", form " << static_cast<int>(as)
                                     << ", its processor fails " << fails << ", failing: " << which.name);
                        auto const times = sweep_drain(of, as, fails, way, which);
                        fired.triggers[which.name] += times;
                        fired.operations[of.name + ": " + way.name] += times;
                    }
                }
            }
        }
    }
    return fired;
}

report constructions(std::vector<trigger> const& triggers, bool threads) {
    report fired;
    for (auto const& of : subjects()) {
        for (auto const as : {form::batches, form::parts_with_token, form::later, form::whole_table}) {
            for (auto const& which : triggers) {
                bool done = false;
                for (std::size_t n = 1; !done; ++n) {
                    INFO(of.name << ", form " << static_cast<int>(as) << ", failing: " << which.name << ", turn " << n);
                    REQUIRE(n < 1'000);
                    auto const held = which.held();
                    {
                        stage set;
                        auto how = set.options_of(of);
                        if (threads) how.runtime = nullptr;
                        attempt const tried(which, n, [&] {
                            begin();
                            set.on = of.make(how, as, set.seen);
                        });
                        done = !tried.fired;
                        CHECK((set.on != nullptr) == !tried.threw);
                        if (set.on) {
                            CHECK(set.on->stats().hook_failures == (tried.fired && which.in_hooks ? 1 : 0));
                            set.on->fill(3);
                            CHECK(set.on->stop(60s).complete);
                            check_conservation(set.on->stats());
                        }
                    }
                    CHECK(which.held() == held);
                    fired.triggers[which.name] += done ? 0 : 1;
                    fired.operations[of.name] += done ? 0 : 1;
                }
            }
        }
    }
    return fired;
}

}  // namespace tests::sweep
