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
// `table.hpp` says what a table has to offer.
#pragma once

#include <tidefall/detail/base/fork.hpp>
#include <tidefall/detail/base/this_thread.hpp>
#include <tidefall/detail/drain/buffer_core.hpp>
#include <tidefall/detail/drain/partition_set.hpp>
#include <tidefall/detail/drain/processor.hpp>
#include <tidefall/detail/sync.hpp>
#include <tidefall/detail/write/router.hpp>
#include <tidefall/detail/write/write_limits.hpp>
#include <tidefall/detail/write/write_path.hpp>
#include <tidefall/options.hpp>
#include <tidefall/partition.hpp>
#include <tidefall/results.hpp>
#include <tidefall/runtime.hpp>
#include <tidefall/tags.hpp>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

namespace tidefall::inline v0 {

/// Which stripe a write goes to. Got from `buffer::route_by`.
class route {
    template <typename Table>
    friend class buffer;
    friend class thread_route;
    explicit route(std::size_t to) noexcept : stripe(to) {}
    std::size_t stripe;
};

/// The stripe that a thread keeps to, of whichever thread writes by it: a write that no other thread's is near takes no
/// lock (`detail/write/biased_lock.hpp`). Got from `buffer::route_by_thread`; valid for as long as the buffer. As a
/// `route` it is the stripe of the thread that converts it.
class thread_route {
public:
    operator route() const noexcept { return route(routes_->by_thread()); }  // NOLINT(google-explicit-constructor)

private:
    template <typename Table>
    friend class buffer;
    explicit thread_route(detail::router const& routes) noexcept : routes_(&routes) {}
    detail::router const* routes_;
};

/// The default for the third argument of a buffer's constructor: values that were not delivered are destroyed.
struct discard_undelivered {};

/// Partitions of `Table` on one engine, with one processor. Many threads write; every `processing_interval` each
/// partition's table is exchanged for an empty one, and the drained one is handed, batch by batch, to the processor,
/// on a worker thread of the runtime.
///
/// Guarantees. Each accepted value is taken by the processor exactly once, or counted exactly once as failed, dropped,
/// coalesced or erased; nothing is offered again unless the processor asks for it (`batch_result`). Writers never wait
/// for the processor, but at a capacity with `overflow_policy::block`. All that is in memory is lost if the process
/// ends without `stop` or the destructor.
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

    /// Starts the buffer. `process` is any callable of one of these forms, tried in this order, each with a
    /// `std::span<value_type>` first and then with a `std::span<value_type const>`:
    ///
    ///     f(batch, batch_info const&, std::stop_token)
    ///     f(batch, std::stop_token)
    ///     f(batch, batch_info const&)
    ///     f(batch)
    ///
    /// or `f(async_batch<value_type>)`, which ends the batch when it likes (`async_batch.hpp`), or of the first four
    /// with a `Table`, the whole drained table whatever the batch size. One that takes spans may return a
    /// `batch_result`, which says what it did not take. Other results are discarded, but for those that say something
    /// (a bool, an enumeration, an error code, what has `has_value()` and `error()`, a future, a coroutine's task):
    /// these do not compile.
    ///
    /// It is called for several partitions at once, never twice at once for one, except beside a call that was given
    /// up. The token is stopped when a call exceeds `processing_timeout` or the deadline of `stop` passes; with
    /// `timeout_action::abandon` such a call is abandoned, and keeps its values and all that it touches here until it
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
                      "the processor must be callable as f(std::span<V>), f(std::span<V const>) or f(Table), each also "
                      "with a tidefall::batch_info const&, a std::stop_token, or both, or as "
                      "f(tidefall::async_batch<V>); V is the buffer's value_type");
        static_assert(!processor_for<Processor, Table> || detail::is_heard<std::decay_t<Processor>, Table>(),
                      "the processor's result would be lost: return a tidefall::batch_result that says what was not "
                      "taken, throw, or discard the result by static_cast<void>");
        static_assert(!processor_for<Processor, Table> || detail::may_say_so<std::decay_t<Processor>, Table>(),
                      "a processor of whole tables takes them whole: a batch_result is for one that takes batches");
        static_assert(!processor_for<Processor, Table> || detail::completes_its_batch<std::decay_t<Processor>, Table>(),
                      "a processor that takes an async_batch gives the batch_result to async_batch::complete");
        static_assert(!std::is_constructible_v<std::decay_t<Undelivered>, Undelivered> ||
                          std::is_same_v<std::decay_t<Undelivered>, discard_undelivered> ||
                          undelivered_for<Undelivered, value_type>,
                      "undelivered must be callable as f(std::span<V>, tidefall::failure const&); V is the buffer's "
                      "value_type");
        if constexpr (processor_for<Processor, Table> &&
                      std::is_constructible_v<std::decay_t<Undelivered>, Undelivered>) {
            detail::validate(how);
            if constexpr (!detail::weighed<Table>) detail::require_no_weights(how);
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

    /// Stops the buffer as `stop()` does. A call that runs all the same, or a batch that is out, whose token was
    /// stopped, is waited for without a limit: no call outlives its buffer. A `manual_runtime` leaves batches that are
    /// out. After another `shutdown_timeout` it says so on standard error, once. Then
    /// the callables are destroyed. With `destruction_action::leave` it returns without such a call: what a processor
    /// captures must outlive its calls.
    ///
    /// In a callback of the buffer itself it closes and returns at once, and the worker drains what is left.
    ~buffer() {
        core_->is_destroyed.store(true, std::memory_order_relaxed);  // as buffer_core says
        if (core_->home.left()) {  // what there is is the parent's, and may be locked for ever
            detail::leave_forever(std::move(core_));
            detail::leave_forever(std::move(partitions_));
            detail::leave_forever(std::move(runtime_));
            return;
        }
        writes_->assert_outside_locks();
        if (inside_own_callback()) {
            begin_stop(shutdown_timeout());
            return;
        }
        stop_by(deadline(shutdown_timeout()));
        if (!leaves_calls_) partitions_->wait_for_calls(shutdown_timeout());
        if (partitions_->is_in_use()) return;
        core_->release_processor();
        core_->release_undelivered();
    }

    /// `options::name`.
    std::string const& name() const noexcept { return core_->name; }

    /// The number of partitions.
    std::size_t partitions() const noexcept { return partitions_->count(); }

    /// One of them, for its `size` and `update_options`. Throws `std::out_of_range`, whose what() names the buffer, the
    /// index and the number of partitions.
    tidefall::partition<Table>& partition(std::size_t index) { return *(*partitions_)[in_range(index)]; }
    tidefall::partition<Table> const& partition(std::size_t index) const { return *(*partitions_)[in_range(index)]; }

    /// Values that wait in the write tables. Takes each stripe's lock for a moment.
    std::size_t size() const noexcept {
        writes_->assert_outside_locks();
        return partitions_->waiting();
    }

    /// The counters. Takes locks for a moment, never for as long as a call.
    buffer_stats stats() const noexcept {
        writes_->assert_outside_locks();
        return partitions_->stats();
    }

    /// Changes what `update` names in every partition, at once; a tick that is set already is never postponed, and is
    /// brought forward to one new interval from now. Throws `invalid_options`; then nothing changed.
#if defined(__GNUC__)
    [[gnu::noinline]]  // inlined, g++ 12 warns of optionals that are empty
#endif
    void
    update_options(options_update const& update) {
        detail::validate(update);
        if constexpr (!detail::weighed<Table>) detail::require_no_weights(update);
        if (core_->home.left()) return;
        if (update.shutdown_timeout) {
            // Relaxed: one value that stands for itself.
            shutdown_timeout_.store(update.shutdown_timeout->count(), std::memory_order_relaxed);
        }
        partitions_->apply(update);
    }

    /// Drains now and blocks until everything whose write returned before the call has an outcome, at most for
    /// `shutdown_timeout` or `within`. 0 or less: starts the drain and does not wait. What is offered again has its
    /// outcome after its last attempt, a batch that is out when it ends. On a runtime without threads, and on a worker
    /// of the buffer's own runtime, the processor runs on this thread; a `manual_runtime` leaves what waits for its
    /// time, and batches that are out. Throws `std::system_error` in
    /// a callback of this buffer.
    drain_report flush() {
        return flush(shutdown_timeout());
    }
    /// The same with a deadline of this call's own.
    drain_report flush(std::chrono::nanoseconds within) {
        if (core_->home.left()) return {};
        require_outside("flush");
        auto const all = partitions_;  // a processor that runs on this thread may destroy the buffer
        return all->flush(deadline(within));
    }

    /// Closes the buffer and drains it: a write that returned `accepted` is drained, a later one returns `stopped`.
    /// What waits to be offered again is offered at once, and for the last time. Blocks until all is done, at most for
    /// `shutdown_timeout` or `within`; at that deadline what still waits is dropped (to `undelivered`), the tokens of
    /// running calls are stopped, and it returns without them; a hook or an `undelivered` that is running then has
    /// another second. 0 or less: drops at once. Throws `std::system_error` in a callback of this buffer.
    ///
    /// The report counts values that had their outcome from the closing to the end, those of a drain in progress among
    /// them; what was processed before is in `stats()` alone, which counts from the construction on. Idempotent: every
    /// call returns the same report, and a later one may bring the deadline forward.
    drain_report stop() {
        return stop(shutdown_timeout());
    }
    /// The same with a deadline of this call's own.
    drain_report stop(std::chrono::nanoseconds within) {
        if (core_->home.left()) return {};
        require_outside("stop");
        return stop_by(deadline(within));
    }
    /// The same with a note, for whoever reads the events: it is in `partition_stop::note`. Of several stops the first
    /// note counts.
    drain_report stop(std::chrono::nanoseconds within, std::string note) {
        if (core_->home.left()) return {};
        require_outside("stop");
        core_->note_stop(std::move(note));
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
    thread_route route_by_thread() const noexcept {
        return thread_route(writes_->routes());
    }

    /// The route of a key: the same for equal keys. Calls std::hash of the key.
    template <typename K>
    route route_by(K const& key) const {
        return route_by_hash(detail::mixed_hash(key));
    }

    /// The route of a mixed hash: its highest bits choose the partition, the next ones the stripe.
    route route_by_hash(std::uint64_t hash) const noexcept {
        return route(writes_->routes().by_hash(hash));
    }

    /// The index of the partition that a route leads to.
    std::size_t partition_at(route to) const noexcept {
        return writes_->routes().partition_of(to.stripe);
    }

    /// The same partition, by the stripe that the calling thread keeps to.
    route own_stripe_of(route to) const noexcept {
        return route(writes_->routes().own_stripe_of(to.stripe));
    }

    /// Runs `f(Table&)` under the lock of the stripe that the route picks and returns the `write_status` that it
    /// returns. Does not call it once the buffer stopped, and answers `stopped`, nor where the partition is at its
    /// capacity and stays there: what happens then is up to the `overflow_policy`. An accepted write that leaves the
    /// table's size as it was counts as coalesced; an `f` that returns another status must not have changed the table.
    ///
    /// `changes_only(Table const&)`, under the same lock, says whether `f` would leave the table's size as it is: such
    /// a write is taken by a full partition too.
    ///
    /// Both run under a spinning lock, or, by the route of the thread, where its stripe leans to it: they must be
    /// short, and must not call the buffer. What they throw reaches the caller. Waits for nothing but the lock and
    /// what stands before its taking (`queue`), unless the partition is full and the policy is `block`.
    template <typename F, typename ChangesOnly>
    write_status write(route to, F&& f, ChangesOnly&& changes_only) {
        auto one = [&](Table& table, std::size_t) { return f(table); };
        return writes_->write_some(to.stripe, 1, one, changes_only).status;
    }
    template <typename F, typename ChangesOnly>
    write_status write(thread_route, F&& f, ChangesOnly&& changes_only) {
        auto one = [&](Table& table, std::size_t) { return f(table); };
        return writes_->write_own(1, one, changes_only).status;
    }
    /// The same for an `f` that may always change the size.
    template <typename Route, typename F>
    write_status write(Route to, F&& f) {
        return write(to, f, never_changes_only{});
    }

    /// The same for a value of that weight, which `f` adds to the table's (`table.hpp`).
    template <typename F>
    write_status write_weighed(route to, std::size_t weight, F&& f) {
        auto one = [&](Table& table, std::size_t) { return f(table); };
        never_changes_only changes_only;
        return writes_->write_some(to.stripe, 1, one, changes_only, weight).status;
    }
    template <typename F>
    write_status write_weighed(thread_route, std::size_t weight, F&& f) {
        auto one = [&](Table& table, std::size_t) { return f(table); };
        never_changes_only changes_only;
        return writes_->write_own(1, one, changes_only, weight).status;
    }

    /// Writes one value by the route of the thread, to a table that has stretches, where nothing is to be done but to
    /// construct it: runs `f(Table&)`, which does so by `emplace_in_stretch`. False where there is more to do, or
    /// another thread is there: nothing has happened, and `write` does it. As `write` else; waits for nothing.
    template <typename F>
    bool write_in_place(F&& f) {
        return writes_->write_in_place(f);
    }

    /// As `write`, for several values: runs `f(Table&, count)`, which inserts as many; `count` is `most`, or fewer
    /// where the capacity, or the memory that the table has at hand, is for fewer. Returns how many were accepted, none
    /// if it was refused: whoever has more writes again until then.
    template <typename F>
    std::size_t write_up_to(std::size_t most, route to, F&& f) {
        never_changes_only changes_only;
        return accepted_by(writes_->write_some(to.stripe, most, f, changes_only));
    }
    template <typename F>
    std::size_t write_up_to(std::size_t most, thread_route, F&& f) {
        never_changes_only changes_only;
        return accepted_by(writes_->write_own(most, f, changes_only));
    }

    /// For a call that writes several times. A write that makes room runs `undelivered` on its thread, which may
    /// destroy the buffer: once `is_gone()` nothing of it may be touched.
    class write_sequence {
    public:
        explicit write_sequence(buffer const& to) : core_(to.drops_oldest_ ? to.core_ : nullptr) {}
        [[nodiscard]] bool is_gone() const noexcept {
            return core_ != nullptr && core_->is_destroyed.load(std::memory_order_relaxed);  // as buffer_core says
        }

    private:
        std::shared_ptr<detail::buffer_core<Table> const> core_;  ///< null where no write makes room
    };

    /// Runs `f(Table const&)` under the lock of the stripe that the route picks; not at all once the buffer stopped. As
    /// `write` else.
    template <typename F>
    void read(route from, F&& f) const {
        writes_->read(from.stripe, f);
    }

    /// The same for each stripe, one after the other.
    template <typename F>
    void read_all(F&& f) const {
        for (std::size_t stripe = 0; stripe < writes_->routes().stripes(); ++stripe) writes_->read(stripe, f);
    }

    /// Runs `f(Table&)`, which takes values out of the table, under the lock of the stripe that the route picks; not at
    /// all once the buffer stopped. Returns how many were taken; they count as erased. An `f` that throws must not have
    /// changed the table.
    template <typename F>
    std::size_t remove(route from, F&& f) {
        return writes_->remove(from.stripe, f);
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

    static std::size_t accepted_by(typename detail::write_path<Table>::write_result result) noexcept {
        return result.status == write_status::accepted ? result.count : 0;
    }

    struct never_changes_only {
        bool operator()(Table const&) const noexcept { return false; }
    };

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
        core_ = std::make_shared<core>(how, static_cast<unsigned>(std::countr_zero(stripes)), runtime_->schedule_,
                                       std::move(process), std::move(undelivered));
        leaves_calls_ = how.calls_at_destruction == destruction_action::leave;
        partitions_ = std::make_shared<detail::partition_set<Table> const>(core_, how, stripes);
        core_->partitions = partitions_;
        drops_oldest_ = how.overflow == overflow_policy::drop_oldest;
        detail::router const routes(core_->places, how.partitions, stripes);
        writes_.emplace(core_, routes,
                        std::make_unique<detail::write_limits<Table>>(core_, partitions_, routes, how.overflow));
        partitions_->start();
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
        writes_->assert_outside_locks();
        if (inside_own_callback()) {
            throw std::system_error(std::make_error_code(std::errc::resource_deadlock_would_occur),
                                    "tidefall: " + std::string(what) + " of buffer \"" + name() +
                                        "\" in its own processor, hook or undelivered");
        }
    }

    /// After a stop: true where the destructor would wait for a call that runs all the same.
    bool outlived_by_calls() const noexcept {
        return !core_->home.left() && !leaves_calls_ && partitions_->is_in_use();
    }

    /// For a stop that is about to begin.
    void note_stop(std::string const& note) const {
        if (!core_->home.left() && !note.empty()) core_->note_stop(note);
    }

    /// The first half of a stop: closes the buffer and does not wait; `stop` with any longer time waits for the end of
    /// this one.
    void begin_stop(std::chrono::nanoseconds within) noexcept {
        if (core_->home.left()) return;
        partitions_->close(deadline(within));
    }

    /// Gives back what a buffer that stopped needs no more, where others may still call it: its threads and, unless
    /// code of the user is running for it all the same, its callables and its memory. Called once.
    void retire() noexcept {
        if (core_->home.left()) return;
        if (!partitions_->is_in_use()) {
            core_->release_processor();
            // A write that makes room calls `undelivered` without a lock.
            if (!drops_oldest_) core_->release_undelivered();
            partitions_->retire();
        }
        runtime_.reset();
    }

    drain_report stop_by(detail::time_point by) {
        auto const all = partitions_;  // a processor that runs on this thread may destroy the buffer
        return all->stop(by);
    }

    // Invariant: all but shutdown_timeout_ is set in the constructor and never changes, but that retire() lets go of
    // runtime_, which nothing else looks at. It comes last, so that its threads have ended before what they serve goes.
    std::shared_ptr<core> core_;
    std::optional<detail::write_path<Table>> writes_;
    bool leaves_calls_ = false;
    bool drops_oldest_ = false;
    detail::atomic<std::chrono::nanoseconds::rep> shutdown_timeout_;
    std::shared_ptr<detail::partition_set<Table> const> partitions_;
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
