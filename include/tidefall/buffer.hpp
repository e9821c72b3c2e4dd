// SPDX-License-Identifier: MIT
//
// What every buffer is: partitions, the way from a write to one of them, and the life of the whole. `queue` and
// `hash_map` derive from it and add their writes; so can a buffer of your own:
//
//     class word_set : public tidefall::buffer<set_table<std::string>> {
//     public:
//         using buffer::buffer;
//         tidefall::write_status insert(std::string word) {
//             return write(route_by(word), [&](set_table<std::string>& table) { return table.insert(std::move(word));
//             });
//         }
//     };
//
// `partition.hpp` says what a table has to offer.
#pragma once

#include <tidefall/buffer_options.hpp>
#include <tidefall/detail/tags.hpp>
#include <tidefall/detail/this_thread.hpp>
#include <tidefall/detail/to_size.hpp>
#include <tidefall/partition.hpp>
#include <tidefall/results.hpp>
#include <tidefall/runtime.hpp>

#include <algorithm>
#include <bit>
#include <cassert>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace tidefall::inline v0 {

/// Which stripe a write goes to. Got from `buffer::route_by_thread` and `buffer::route_by`.
class route {
    template <typename Table>
    friend class buffer;
    explicit route(std::uint64_t to) noexcept : stripe(detail::to_size(to)) {}
    std::size_t stripe;
};

/// The default for the third argument of a buffer's constructor: values that were not delivered are destroyed.
struct discard_undelivered {};

/// Partitions of `Table` on one engine, with one processor. Many threads write; every `processing_interval` each
/// partition's table is exchanged for an empty one, and the drained one is handed, batch by batch, to the processor,
/// on a worker thread of the runtime.
///
/// Guarantees. Each accepted value is handed to the processor exactly once, or counted exactly once as failed,
/// dropped, coalesced or erased; nothing is retried. Writers never wait for the processor, but at a capacity with
/// `overflow_policy::block`. All that is in memory is lost if the process ends without `stop` or the destructor.
///
/// Thread safety: everything but construction and destruction may be called from several threads at once, also from
/// the processor, `undelivered` and hooks, but for `flush` and `stop` of the buffer whose callback it is: these throw
/// `std::system_error` with `resource_deadlock_would_occur`. Nothing here is async-signal-safe.
///
/// In a forked child a buffer of the parent is as if it were stopped: writes answer `stopped` and are not counted,
/// `flush`, `stop`, `update_options` and the destructor return at once, and nothing locks. The parent goes on.
template <typename Table>
class buffer {
public:
    using table_type = Table;
    using value_type = typename Table::value_type;

    /// Starts the buffer. `process` is any callable of one of these forms, tried in this order:
    ///
    ///     f(std::span<value_type>, std::stop_token), f(std::span<value_type const>, std::stop_token)
    ///     f(std::span<value_type>), f(std::span<value_type const>)
    ///     f(Table, std::stop_token), f(Table)          the whole drained table, whatever the batch size
    ///
    /// It is called for several partitions at once, never twice at once for one, except beside a call that was given
    /// up. The token is stopped when a call exceeds `processing_timeout` or the deadline of `stop` passes; with
    /// `timeout_action::abandon` such a call is given up, and keeps its values and all that it touches here until it
    /// returns. A call that throws fails its batch, one that leaves by a forced unwind (`pthread_exit`) too; where it
    /// runs on the thread that called `flush`, `stop` or a write, the unwind goes on there.
    /// `undelivered(std::span<value_type>, failure const&)` receives what the processor did not take; what it throws is
    /// swallowed and counted.
    ///
    /// `stripes`, a power of two up to 4,096, is for those who derive: locks in each partition.
    ///
    /// Throws `invalid_options`, `std::invalid_argument` for an empty callable, `std::system_error` where a thread
    /// cannot be started; then nothing was started.
    template <typename Processor, typename Undelivered = discard_undelivered>
    explicit buffer(options how, Processor&& process, Undelivered&& undelivered = {}, std::size_t stripes = 1)
        : shutdown_timeout_(how.shutdown_timeout.count()) {
        static_assert(std::is_constructible_v<std::decay_t<Processor>, Processor>,
                      "the processor cannot be copied into the buffer: give a move-only callable with std::move");
        static_assert(std::is_constructible_v<std::decay_t<Undelivered>, Undelivered>,
                      "undelivered cannot be copied into the buffer: give a move-only callable with std::move");
        static_assert(!std::is_constructible_v<std::decay_t<Processor>, Processor> || processor_for<Processor, Table>,
                      "the processor must be callable as f(std::span<V>) or f(std::span<V const>), each also with a "
                      "std::stop_token, or as f(Table), also with a std::stop_token; V is the buffer's value_type");
        static_assert(!std::is_constructible_v<std::decay_t<Undelivered>, Undelivered> ||
                          std::is_same_v<std::decay_t<Undelivered>, discard_undelivered> ||
                          undelivered_for<Undelivered, value_type>,
                      "undelivered must be callable as f(std::span<V>, tidefall::failure const&); V is the buffer's "
                      "value_type");
        if constexpr (processor_for<Processor, Table> &&
                      std::is_constructible_v<std::decay_t<Undelivered>, Undelivered>) {
            detail::validate(how);
            if (!std::has_single_bit(stripes) || stripes > max_stripes) {
                throw invalid_options("stripes", std::to_string(stripes), "a power of two up to 4096");
            }
            if (how.overflow == overflow_policy::drop_oldest && (!detail::has_oldest<Table> || stripes > 1)) {
                throw invalid_options("overflow", "drop_oldest",
                                      "block or reject: only a queue in insertion order has an oldest value");
            }
            detail::require_callable(process, "the processor");
            detail::require_callable(undelivered, "undelivered");
            start(how, erase_processor(std::forward<Processor>(process)),
                  erase_undelivered(std::forward<Undelivered>(undelivered)), stripes);
        }
    }

    buffer(buffer const&) = delete;
    buffer& operator=(buffer const&) = delete;

    /// Stops the buffer as `stop()` does. A call that runs all the same, whose token was stopped, is waited for without
    /// a limit: no call outlives its buffer. After another `shutdown_timeout` it says so on standard error, once. Then
    /// the callables are destroyed. With `destruction_action::leave` it returns without such a call: what a processor
    /// captures must outlive its calls.
    ///
    /// In a callback of the buffer itself it closes and returns at once, and the worker drains what is left.
    ~buffer() {
        if (home_.left()) {  // what there is is the parent's, and may be locked for ever
            detail::leave_forever(std::move(core_));
            detail::leave_forever(std::move(partitions_));
            detail::leave_forever(std::move(runtime_));
            return;
        }
        assert_outside_locks();
        if (inside_own_callback()) {
            begin_stop(shutdown_timeout());
            return;
        }
        stop_by(deadline(shutdown_timeout()));
        if (leaves_calls_) {
            if (in_use()) return;
        } else {
            wait_for_calls();
        }
        core_->release_processor();
        core_->release_undelivered();
    }

    /// `options::name`.
    std::string const& name() const noexcept { return core_->name; }

    /// The number of partitions.
    std::size_t partitions() const noexcept { return partitions_->size(); }

    /// One of them, for its `size` and `update_options`. Throws `std::out_of_range`, whose what() names the buffer, the
    /// index and the number of partitions.
    tidefall::partition<Table>& partition(std::size_t index) { return *(*partitions_)[in_range(index)]; }
    tidefall::partition<Table> const& partition(std::size_t index) const { return *(*partitions_)[in_range(index)]; }

    /// Values that wait in the write tables. Takes each stripe's lock for a moment.
    std::size_t size() const noexcept {
        assert_outside_locks();
        std::size_t total = 0;
        for (auto const& one : *partitions_) total += one->size();
        return total;
    }

    /// The counters. Takes locks for a moment, never for as long as a call.
    buffer_stats stats() const noexcept {
        assert_outside_locks();
        return stats_of(*core_, *partitions_);
    }

    /// Changes what `update` names in every partition, at once; a tick that is set already is never postponed, and is
    /// brought forward to one new interval from now. Throws `invalid_options`; then nothing changed.
#if defined(__GNUC__)
    [[gnu::noinline]]  // inlined, g++ 12 warns of optionals that are empty
#endif
    void
    update_options(options_update const& update) {
        detail::validate(update);
        if (home_.left()) return;
        if (update.shutdown_timeout) {
            // Relaxed: one value that stands for itself.
            shutdown_timeout_.store(update.shutdown_timeout->count(), std::memory_order_relaxed);
        }
        for (auto const& one : *partitions_) one->apply(update);
    }

    /// Drains now and blocks until everything whose write returned before the call has an outcome, at most for
    /// `shutdown_timeout` or `within`. 0 or less: starts the drain and does not wait. On a `manual_runtime`, and on a
    /// worker of the buffer's own runtime, the processor runs on this thread. Throws `std::system_error` in a
    /// callback of this buffer.
    drain_report flush() {
        return flush(shutdown_timeout());
    }
    /// The same with a deadline of this call's own.
    drain_report flush(std::chrono::nanoseconds within) {
        if (home_.left()) return {};
        require_outside("flush");
        // A processor that runs on this thread may destroy the buffer.
        auto const shared = core_;
        auto const all = partitions_;
        auto const by = deadline(within);
        std::vector<std::uint64_t> targets(all->size());
        auto const before = stats_of(*shared, *all);
        auto const abandoned_before = abandoned_of(*all);
        for (std::size_t i = 0; i < targets.size(); ++i) targets[i] = (*all)[i]->flush();
        bool complete = true;
        for (std::size_t i = 0; i < targets.size(); ++i) {
            auto const& one = *(*all)[i];
            bool const settled =
                shared->wait_until([&] { return one.control_.is_settled(targets[i]); }, [&] { return by; });
            complete = complete && settled && one.control_.is_complete(targets[i]);
        }
        auto const after = stats_of(*shared, *all);
        return {.processed = after.processed - before.processed,
                .failed = after.failed - before.failed,
                .dropped = after.dropped - before.dropped,
                .abandoned = abandoned_of(*all) - abandoned_before,
                .complete = complete};
    }

    /// Closes the buffer and drains it: a write that returned `accepted` is drained, a later one returns `stopped`.
    /// Blocks until all is done, at most for `shutdown_timeout` or `within`; at that deadline what still waits is
    /// dropped (to `undelivered`), the tokens of running calls are stopped, and it returns without them; a hook or an
    /// `undelivered` that is running then has another second. 0 or less: drops at once. Throws `std::system_error` in a
    /// callback of this buffer.
    ///
    /// The report counts values that had their outcome from the closing to the end, those of a drain in progress among
    /// them; what was processed before is in `stats()` alone, which counts from the construction on. Idempotent: every
    /// call returns the same report, and a later one may bring the deadline forward.
    drain_report stop() {
        return stop(shutdown_timeout());
    }
    /// The same with a deadline of this call's own.
    drain_report stop(std::chrono::nanoseconds within) {
        if (home_.left()) return {};
        require_outside("stop");
        return stop_by(deadline(within));
    }

protected:
    /// Enough stripes in a partition that writers seldom meet: 6 KiB a partition with tables of 64 bytes.
    static constexpr std::size_t many_stripes = 32;

    /// The most that a partition can have.
    static constexpr std::size_t max_stripes = 4'096;

    /// The route that the calling thread keeps to: the threads that write to the buffer are spread evenly in the order
    /// in which they first come, over the partitions first. A thread that has such a place in 16 other buffers already
    /// is spread by its number in the process.
    route route_by_thread() const noexcept {
        auto const& place = detail::state_of_this_thread().places.first_look(key_);
        if (place.buffer == key_) [[likely]]
            return route(place.stripe);
        return route(core_->places.of_this_thread());
    }

    /// The route of a key: the same for equal keys. Calls std::hash of the key.
    template <typename K>
    route route_by(K const& key) const {
        return route_by_hash(detail::mixed_hash(key));
    }

    /// The route of a mixed hash: its highest bits choose the partition, the next ones the stripe.
    route route_by_hash(std::uint64_t hash) const noexcept {
        return route((hash >> 32) * stripe_count_ >> 32);
    }

    /// The same partition, by the stripe that the calling thread keeps to.
    route own_stripe_of(route to) const noexcept {
        return route((to.stripe & ~stripe_mask_) | (route_by_thread().stripe & stripe_mask_));
    }

    /// Runs `f(Table&)` under the lock of the stripe that the route picks and returns the `write_status` that it
    /// returns. Does not call it once the buffer stopped, and answers `stopped`, nor where the partition is at its
    /// capacity and stays there: what happens then is up to the `overflow_policy`. An accepted write that leaves the
    /// table's size as it was counts as coalesced; an `f` that returns another status must not have changed the table.
    ///
    /// `changes_only(Table const&)`, under the same lock, says whether `f` would leave the table's size as it is: such
    /// a write is taken by a full partition too.
    ///
    /// Both run under a spinning lock: they must be short, and must not call the buffer. What they throw reaches the
    /// caller. Waits for nothing but the lock, unless the partition is full and the policy is `block`.
    template <typename F, typename ChangesOnly>
    write_status write(route to, F&& f, ChangesOnly&& changes_only) {
        auto one = [&](Table& table, std::size_t) { return f(table); };
        return write_some(to, 1, one, changes_only).status;
    }
    /// The same for an `f` that may always change the size.
    template <typename F>
    write_status write(route to, F&& f) {
        return write(to, f, never_changes_only{});
    }

    /// The same for several values: runs `f(Table&, count)`, which inserts as many; `count` is `most`, or fewer where
    /// the capacity leaves room for fewer. Returns how many were accepted, none if it was refused.
    template <typename F>
    std::size_t write_up_to(std::size_t most, route to, F&& f) {
        never_changes_only changes_only;
        auto const result = write_some(to, most, f, changes_only);
        return result.status == write_status::accepted ? result.count : 0;
    }

    /// Runs `f(Table const&)` under the lock of the stripe that the route picks; not at all once the buffer stopped. As
    /// `write` else.
    template <typename F>
    void read(route from, F&& f) const {
        assert_outside_locks();
        if (home_.left()) [[unlikely]]
            return;
        auto& stripe = stripes_[from.stripe];
        detail::stripe_guard const guard(stripe);
        if (!stripe.closed) locked(f, std::as_const(stripe.table));
    }

    /// Runs `f(Table&)`, which takes values out of the table, under the lock of the stripe that the route picks; not at
    /// all once the buffer stopped. Returns how many were taken; they count as erased. An `f` that throws must not have
    /// changed the table.
    template <typename F>
    std::size_t remove(route from, F&& f) {
        assert_outside_locks();
        if (home_.left()) [[unlikely]]
            return 0;
        auto& stripe = stripes_[from.stripe];
        std::size_t removed = 0;
        bool made_room = false;
        {
            detail::stripe_guard const guard(stripe);
            if (stripe.closed) return 0;
            std::size_t const before = stripe.table.size();
            locked(f, stripe.table);
            removed = before - stripe.table.size();
            stripe.erased += removed;
            stripe.shrunk_from(before);
            made_room = removed > 0 && stripe.limits->capacity != detail::no_limit;
        }
        if (made_room) core_->changed();  // a writer may wait for it
        return removed;
    }

private:
    template <typename Buffer>
    friend class registry;
    template <typename Derived, typename Buffer>
    friend class definition;
    using core = detail::buffer_core<Table>;

    /// `index`, if there is such a partition.
    std::size_t in_range(std::size_t index) const {
        if (index < partitions()) return index;
        throw std::out_of_range("tidefall: buffer \"" + name() + "\" has no partition " + std::to_string(index) +
                                ": it has " + std::to_string(partitions()) + ", counted from 0");
    }

    /// In debug builds: what runs under a lock of this buffer has not called it.
    void assert_outside_locks() const noexcept {
        assert(!detail::inside_lock::of(core_->this_thread, core_.get()) &&
               "tidefall: code that runs under a lock of a buffer must not call that buffer");
    }

    /// Runs `f(table)`, where a stripe's lock is held.
    template <typename F, typename T>
    decltype(auto) locked(F& f, T& table) const {
#if !defined(NDEBUG)
        detail::inside_lock const here(core_->this_thread, core_.get());
#endif
        return f(table);
    }

    struct never_changes_only {
        bool operator()(Table const&) const noexcept { return false; }
    };

    struct write_result {
        write_status status;
        std::size_t count;
    };

    /// Only values and stripes go to functions that are not inlined: what `f` captures stays in registers.
    template <typename F, typename ChangesOnly>
#if defined(__GNUC__)
    [[gnu::always_inline]]
#endif
    inline write_result
    write_some(route to, std::size_t most, F& f, ChangesOnly& changes_only) {
        assert_outside_locks();
        if (home_.left()) [[unlikely]]
            return {write_status::stopped, 0};
        auto& stripe = stripes_[to.stripe];
        stripe.enter();
        std::size_t before = stripe.table.size();
        bool const calm = stripe.is_calm_at(before);
        std::size_t count = most;
        if (calm) [[likely]] {
            count = (std::min)(most, stripe.calm + 1 - before);
        } else {
            for (blocked_write blocked; (count = (std::min)(most, stripe.room())) == 0;) {
                if (would_only_change(stripe, changes_only)) {
                    count = 1;
                    break;
                }
                auto const next = at_limit(stripe, blocked);
                if (next == overflow_step::refuse_full) return {write_status::full, 0};
                if (next == overflow_step::refuse_stopped) return {write_status::stopped, 0};
                if (next == overflow_step::make_room_after) {
                    count = 1;
                    break;
                }
            }
            before = stripe.table.size();
        }
        write_status status;
        try {
            auto counted = [&](Table& table) { return f(table, count); };
            status = locked(counted, stripe.table);
        } catch (...) {
            unlock_and_look(stripe, before);  // what a bulk write had inserted stays
            throw;
        }
        if (status != write_status::accepted) [[unlikely]] {
            ++stripe.refused;
        } else if (detail::coalesces<Table> && stripe.table.size() == before) [[unlikely]] {
            ++stripe.coalesced;
        }
        if (calm) [[likely]] {
            stripe.lock.unlock();
        } else {
            unlock_and_look(stripe, before);
        }
        return {status, count};
    }

    enum class overflow_step : std::uint8_t { look_again, refuse_full, refuse_stopped, make_room_after };

    /// Of a write that waits for room.
    struct blocked_write {
        std::optional<detail::time_point> since;
        bool in_time = true;
    };

    /// What a write does that found its stripe closed, or its partition full. The stripe's lock is held; refusing
    /// releases it, looking again comes after a wait.
    ///
    /// Code of the user's that runs here, a hook or, without threads, the processor, may destroy the buffer: then the
    /// write is refused, and nothing but what is kept here is looked at.
#if defined(__GNUC__)
    [[gnu::noinline]]
#endif
    overflow_step
    at_limit(detail::stripe<Table>& stripe, blocked_write& write) {
        if (stripe.closed) return refuse_stopped(stripe);
        bool const observed = core_->observed();
        if (observed && stripe.note_full(core_->schedule->now())) {
            auto const one = (*partitions_)[index_of(stripe)];
            stripe.lock.unlock();
            one->tell_full();
            return enter_again(stripe);
        }
        if (overflow_ == overflow_policy::drop_oldest && !detail::inside_drop::of(core_->this_thread, core_.get())) {
            return overflow_step::make_room_after;
        }
        if (overflow_ != overflow_policy::block || !write.in_time || inside_any_callback()) {
            stripe.turn_away(observed);
            stripe.lock.unlock();
            return overflow_step::refuse_full;
        }
        auto const one = (*partitions_)[index_of(stripe)];
        stripe.lock.unlock();
        if (!write.since) write.since = core_->schedule->now();
        write.in_time = one->wait_for_room(*write.since);
        return enter_again(stripe);
    }

    static overflow_step enter_again(detail::stripe<Table>& stripe) noexcept {
        stripe.enter();
        return stripe.closed ? refuse_stopped(stripe) : overflow_step::look_again;
    }

    /// The stripe's lock is held, and released.
    static overflow_step refuse_stopped(detail::stripe<Table>& stripe) noexcept {
        ++stripe.refused;
        stripe.lock.unlock();
        return overflow_step::refuse_stopped;
    }

    /// In code of the user's that any buffer called, as far as this module or the buffer's knows.
    bool inside_any_callback() const noexcept {
        return detail::inside_callback::any(core_->this_thread) ||
               detail::inside_callback::any(&detail::state_of_this_thread);
    }

    /// The stripe's lock is held; what `changes_only` throws releases it.
    template <typename ChangesOnly>
    bool would_only_change(detail::stripe<Table>& stripe, ChangesOnly& changes_only) const {
        if (stripe.closed) return false;
        try {
            return locked(changes_only, std::as_const(stripe.table));
        } catch (...) {
            stripe.lock.unlock();
            throw;
        }
    }

    std::size_t index_of(detail::stripe<Table> const& one) const noexcept {
        return static_cast<std::size_t>(std::addressof(one) - stripes_) >> stripe_bits_;
    }
    tidefall::partition<Table>& partition_of(detail::stripe<Table> const& one) const noexcept {
        return *(*partitions_)[index_of(one)];
    }

    /// The end of a write that may have to set a tick, start a drain, or make room for what it inserted: then the
    /// oldest value goes to `undelivered` on this thread. What moving that throws takes the insertion back. The
    /// stripe's lock is held; releases it.
#if defined(__GNUC__)
    [[gnu::noinline]]
#endif
    void
    unlock_and_look(detail::stripe<Table>& stripe, std::size_t before) {
        bool const first = before == 0 && stripe.table.size() > 0;
        bool const crossed = stripe.crossed_limit(before);
        bool const full = stripe.limits->drain_at == stripe.limits->capacity;
        bool const over = overflow_ == overflow_policy::drop_oldest && before >= stripe.limits->capacity &&
                          stripe.table.size() > before;
        if constexpr (detail::has_oldest<Table>) {
            if (over) return unlock_and_drop_oldest(stripe);
        }
        stripe.lock.unlock();
        auto& partition = partition_of(stripe);
        if (first) partition.control_.value_waits();
        if (crossed) partition.start_drain(full ? drain_trigger::capacity : drain_trigger::threshold);
    }

    void unlock_and_drop_oldest(detail::stripe<Table>& from) {
        std::optional<value_type> oldest;
        try {
            oldest.emplace(std::move(from.table.front()));
        } catch (...) {
            from.table.pop_back();
            from.lock.unlock();
            throw;
        }
        from.table.pop_front();
        ++from.dropped;
        from.lock.unlock();
        auto const one = (*partitions_)[index_of(from)];  // `undelivered` may destroy the buffer
        detail::inside_drop const here(core_->this_thread, core_.get());
        one->return_oldest(*oldest);
    }

    template <typename Processor>
    static std::unique_ptr<detail::processor<Table>> erase_processor(Processor&& process) {
        return std::make_unique<detail::processor_of<Table, std::decay_t<Processor>>>(std::forward<Processor>(process));
    }

    template <typename Undelivered>
    static std::unique_ptr<detail::undelivered_handler<value_type>> erase_undelivered(Undelivered&& undelivered) {
        if constexpr (std::is_same_v<std::decay_t<Undelivered>, discard_undelivered>) {
            return nullptr;
        } else {
            return std::make_unique<detail::undelivered_handler_of<value_type, std::decay_t<Undelivered>>>(
                std::forward<Undelivered>(undelivered));
        }
    }

    void start(options const& how, std::unique_ptr<detail::processor<Table>> process,
               std::unique_ptr<detail::undelivered_handler<value_type>> undelivered, std::size_t stripes) {
        runtime_ = how.runtime
                       ? how.runtime
                       : make_runtime({.workers = (std::min)({how.partitions, default_partitions(), max_workers}),
                                       .thread_name = how.name});
        stripe_bits_ = static_cast<unsigned>(std::countr_zero(stripes));
        core_ =
            std::make_shared<core>(how, stripe_bits_, runtime_->schedule_, std::move(process), std::move(undelivered));
        stripes_ = core_->stripes.get();
        key_ = core_->places.key();
        overflow_ = how.overflow;
        leaves_calls_ = how.calls_at_destruction == destruction_action::leave;
        stripe_mask_ = stripes - 1;
        stripe_count_ = how.partitions * stripes;
        partition_list all;
        all.reserve(how.partitions);
        for (std::size_t index = 0; index < how.partitions; ++index) {
            all.emplace_back(
                new tidefall::partition<Table>(core_, index, std::span(stripes_ + index * stripes, stripes), how));
        }
        partitions_ = std::make_shared<partition_list const>(std::move(all));
        for (auto const& one : *partitions_) one->start();
    }

    std::chrono::nanoseconds shutdown_timeout() const noexcept {
        return std::chrono::nanoseconds(shutdown_timeout_.load(std::memory_order_relaxed));
    }

    detail::time_point deadline(std::chrono::nanoseconds within) const noexcept {
        return detail::later(core_->schedule->now(), within);
    }

    bool inside_own_callback() const noexcept {
        return detail::inside_callback::of(core_->this_thread, core_.get());
    }

    void require_outside(char const* what) const {
        assert_outside_locks();
        if (inside_own_callback()) {
            throw std::system_error(std::make_error_code(std::errc::resource_deadlock_would_occur),
                                    "tidefall: " + std::string(what) + " of buffer \"" + name() +
                                        "\" in its own processor, hook or undelivered");
        }
    }

    using partition_list = std::vector<std::shared_ptr<tidefall::partition<Table>>>;

    static buffer_stats stats_of(core const& shared, partition_list const& all) noexcept {
        buffer_stats result;
        bool const alone = shared.home.left();
        for (auto const& one : all) alone ? one->count_alone_in(result) : one->count_in(result);
        result.hook_failures = shared.hook_failures();
        return result;
    }

    static std::uint64_t abandoned_of(partition_list const& all) noexcept {
        std::uint64_t total = 0;
        for (auto const& one : all) total += one->control_.abandoned();
        return total;
    }

    /// Of a buffer that was stopped: true while code of the user may be running for it all the same.
    bool in_use() const noexcept {
        return std::any_of(partitions_->begin(), partitions_->end(),
                           [](auto const& one) { return one->control_.is_in_use(); });
    }

    /// The same, where the destructor would wait for it.
    bool outlived_by_calls() const noexcept {
        return !home_.left() && !leaves_calls_ && in_use();
    }

    /// The first half of a stop: closes the buffer and does not wait; `stop` with any longer time waits for the end of
    /// this one.
    void begin_stop(std::chrono::nanoseconds within) noexcept {
        if (home_.left()) return;
        auto const by = deadline(within);
        for (auto const& one : *partitions_) one->close(by);
    }

    /// Gives back what a buffer that stopped needs no more, where others may still call it: its threads and, unless
    /// code of the user is running for it all the same, its callables and its memory. Called once.
    void retire() noexcept {
        if (home_.left()) return;
        if (!in_use()) {
            core_->release_processor();
            // A write that makes room calls `undelivered` without a lock.
            if (overflow_ != overflow_policy::drop_oldest) core_->release_undelivered();
            for (auto const& one : *partitions_) one->retire();
        }
        runtime_.reset();
    }

    drain_report stop_by(detail::time_point by) {
        // A processor that runs on this thread may destroy the buffer.
        auto const shared = core_;
        auto const all = partitions_;
        for (auto const& one : *all) one->close(by);
        bool in_time = true;
        for (auto const& one : *all) {
            auto const stopped = [&] { return one->control_.has_ended(); };
            if (shared->wait_until(stopped, [&] { return one->control_.stop_deadline(); })) continue;
            one->expire();
            in_time = false;
        }
        if (!in_time) {
            // A worker that was sorting or handing back ends that; it should not take long.
            auto const bound = detail::later(shared->schedule->now(), detail::grace);
            for (auto const& one : *all)
                shared->wait_until([&] { return one->control_.has_ended(); }, [&] { return bound; });
        }
        return shared->settle_report([&] {
            drain_report report;
            for (auto const& one : *all) one->control_.count_in(report);
            return report;
        });
    }

    /// After a stop: waits for the calls that run all the same.
    void wait_for_calls() const noexcept {
        if (!in_use()) return;
        for (auto const& one : *partitions_) one->stop_running_call();
        auto const ended = [&] { return !in_use(); };
        if (core_->wait_for(ended, shutdown_timeout())) return;
        std::fprintf(stderr,
                     "tidefall: buffer \"%s\" is being destroyed and waits for a call of its processor that does not "
                     "end, although its token was stopped (options::calls_at_destruction).\n",
                     name().c_str());
        core_->wait_for(ended, (std::chrono::nanoseconds::max)());
    }

    // Invariant: all but shutdown_timeout_ is set in the constructor and never changes, but that retire() lets go of
    // runtime_, which nothing else looks at. It comes last, so that its threads have ended before what they serve goes.
    std::shared_ptr<core> core_;
    detail::stripe<Table>* stripes_ = nullptr;  ///< core_'s: a write finds its stripe with one look-up
    std::uint64_t key_ = 0;                     ///< by which a thread finds its place
    std::uint64_t stripe_count_ = 0;            ///< of all partitions
    std::size_t stripe_mask_ = 0;
    unsigned stripe_bits_ = 0;
    overflow_policy overflow_ = overflow_policy::block;
    bool leaves_calls_ = false;
    detail::home_process const home_;
    detail::atomic<std::chrono::nanoseconds::rep> shutdown_timeout_;
    std::shared_ptr<partition_list const> partitions_;
    std::shared_ptr<runtime> runtime_;
};

namespace detail {

/// True for a buffer, and for what publicly derives from one.
template <typename T, typename = void>
inline constexpr bool is_buffer = false;
template <typename T>
inline constexpr bool is_buffer<T, std::void_t<typename T::table_type>> =
    std::is_convertible_v<T*, buffer<typename T::table_type>*>;

}  // namespace detail
}  // namespace tidefall::inline v0
