// SPDX-License-Identifier: MIT
//
// Sweeps: one thing is made to fail at its first, second, third … turn in an operation, until the operation gets by
// without it. What must hold then is the same for every operation of every buffer, and is written once, in sweep.cpp;
// the buffers and their operations are tables in sweep_subjects.cpp.
#pragma once

#include <tidefall/options.hpp>
#include <tidefall/results.hpp>

#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace tests::sweep {

/// What is made to fail: some code of the user, or allocations.
struct trigger {
    std::string name;
    std::function<void(std::size_t nth)> arm;
    std::function<bool()> disarm;        ///< true if it failed
    std::function<std::int64_t()> held;  ///< by all objects that are alive; none of them is to stay
    bool in_hooks = false;               ///< or in `undelivered`: swallowed and counted
};

/// How often each trigger failed, by its name, and how often anything did in each operation.
struct report {
    std::map<std::string, std::size_t> triggers;
    std::map<std::string, std::size_t> operations;
};

/// Every write, look-up and erasure of every buffer: each is all or nothing, a bulk write keeps a prefix, and the drain
/// that follows is that of a buffer to which nothing else was written.
report writes(std::vector<trigger> const& triggers);

/// Everything that drains, with every form of a processor: each value has one outcome, and the buffer goes on.
report drains(std::vector<trigger> const& triggers);

/// Construction, with and without threads of its own: nothing is left where it throws.
report constructions(std::vector<trigger> const& triggers, bool threads);

// ---- what the tables are made of

/// A value as it was delivered: that of a queue is all in `key`.
struct row {
    int key = 0;
    int value = 0;
    int version = 0;
    std::uint64_t updates = 0;
    auto operator<=>(row const&) const = default;
};
std::ostream& operator<<(std::ostream& to, row const& one);

/// What became of values. Has all its memory before anything is made to fail.
struct notes {
    std::mutex mutex;  ///< of what several workers write
    std::vector<row> processed;
    std::vector<row> returned;  ///< to `undelivered`
    std::vector<row> thrown;    ///< in calls of the processor that threw
    bool fails_on_1 = false;    ///< the processor, for a batch that holds this key
    notes();
};

/// `later`: an `async_batch`, which is completed in its call.
enum class form { batches, parts_with_token, later, whole_table };

/// A buffer under test, whichever it is.
class scene {
public:
    scene() = default;
    scene(scene const&) = delete;
    scene& operator=(scene const&) = delete;
    virtual ~scene() = default;

    virtual void fill(std::size_t count) = 0;
    /// Runs an operation of its table, a bulk write with so many values.
    virtual void run(std::size_t operation, std::size_t count) = 0;
    virtual tidefall::buffer_stats stats() const = 0;
    virtual std::size_t size() const = 0;
    virtual void update_options(tidefall::options_update const& update) = 0;
    virtual tidefall::drain_report flush() = 0;
    virtual tidefall::drain_report stop(std::chrono::nanoseconds within) = 0;
};

struct operation {
    std::string name;
    bool bulk;
};

/// A type of buffer with some options.
struct subject {
    std::string name;
    bool ordered;           ///< what is delivered has an order
    bool drains_in_writes;  ///< a write that finds no room drains
    tidefall::options how;
    std::vector<std::size_t> fills;
    std::vector<operation> operations;
    std::unique_ptr<scene> (*make)(tidefall::options const& how, form as, notes& into);
};
std::vector<subject> const& subjects();

/// Called by an operation once its arguments are made: from here on the trigger counts.
void begin();

}  // namespace tests::sweep
