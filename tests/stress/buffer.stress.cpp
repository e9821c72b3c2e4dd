// SPDX-License-Identifier: MIT
//
// All that a buffer can do, at once, for each kind: several writers and readers, flushes with deadlines, new options,
// hooks, a processor that throws, takes a part, takes too long and writes to its own buffer, and a stop with a
// deadline, under options drawn by chance. What was accepted comes out once and in order, and the counters add up.
#include "../support/checker.hpp"
#include "../support/common.hpp"
#include "../support/kinds.hpp"
#include "../support/stress.hpp"

#include <tidefall/hash_map.hpp>
#include <tidefall/queue.hpp>
#include <tidefall/telemetry.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using std::chrono::nanoseconds;
using tests::checker;
using tests::dice;
using tests::stamp;
using tidefall::write_status;
using turn = checker::turn;

namespace {

constexpr nanoseconds never = nanoseconds::max();
constexpr std::size_t writers = 4;

// ---- what is written, and to which lane

struct value {
    stamp by;
    std::uint64_t added = 0;
    std::shared_ptr<stamp const> twin;  ///< differs from `by` once the value is damaged

    [[nodiscard]] bool intact() const { return twin && *twin == by; }
};
value value_of(stamp const& by, std::uint64_t added = 0) {
    return {by, added, std::make_shared<stamp const>(by)};
}

/// A run of lanes of one use.
struct lanes {
    std::uint32_t from;
    std::uint32_t count;

    [[nodiscard]] bool has(std::uint32_t lane) const { return lane >= from && lane - from < count; }
    [[nodiscard]] std::uint32_t any(dice& random) const {
        return from + static_cast<std::uint32_t>(random.below(count));
    }
};

// Of a queue. One lane is for writes in `undelivered` alone, which may come in the midst of another write.
constexpr lanes by_thread{0, 3};
constexpr lanes by_key{3, 6};
constexpr lanes queue_inside{9, 1};
constexpr std::uint32_t queue_lanes = 10;

// Of a hash map a lane is a key.
constexpr lanes updated{0, 8};
constexpr lanes stored{8, 40};
constexpr lanes versioned{48, 8};
constexpr lanes versioned_by_draw{56, 8};
constexpr lanes own{64, checker::most_producers};  ///< of one producer each
constexpr lanes map_inside{80, 2};
constexpr lanes erased{82, 300};
constexpr std::uint32_t map_lanes = 382;

std::string const& key_of(std::uint32_t lane) {
    static std::vector<std::string> const keys = [] {
        std::vector<std::string> all;
        for (std::uint32_t i = 0; i < map_lanes; ++i) {
            all.push_back("a key of more than fits in place " + std::to_string(i));
        }
        return all;
    }();
    return keys[lane];
}

// ---- the kinds

struct by_lane {
    std::uint32_t operator()(value const& one) const { return one.by.lane; }
};

using map_of_values = tidefall::hash_map<std::string, value>;

template <typename Queue, bool OverAll, bool Sorted, bool HasOldest>
struct queue_kind {
    using buffer = Queue;
    static constexpr bool is_sorted = Sorted;
    static constexpr bool has_oldest = HasOldest;
    static constexpr std::uint32_t inside = queue_inside.from;

    static std::vector<checker::lane_rule> rules(std::size_t partitions) {
        std::vector<checker::lane_rule> all(queue_lanes);
        for (std::uint32_t lane = 0; lane < queue_lanes; ++lane) {
            all[lane].over_all_producers = OverAll && (partitions == 1 || !by_thread.has(lane));
        }
        return all;
    }
};

struct in_insertion_order : queue_kind<tests::insertion_queue_of<value>, true, false, true> {};
struct in_producer_order : queue_kind<tests::producer_queue_of<value>, false, false, false> {};
struct sorted : queue_kind<tidefall::queue<value, tidefall::sorted_by<by_lane{}>>, true, true, false> {};

struct hash_map {
    using buffer = map_of_values;
    static constexpr bool is_sorted = false;
    static constexpr bool has_oldest = false;
    static constexpr std::uint32_t inside = map_inside.from;

    static std::vector<checker::lane_rule> rules(std::size_t) {
        std::vector<checker::lane_rule> all(map_lanes, {checker::rule::last, true});
        for (std::uint32_t lane = erased.from; lane < map_lanes; ++lane) all[lane].what = checker::rule::some;
        return all;
    }
};

template <typename V>
bool in_its_place(V const&) {
    return true;
}
bool in_its_place(map_of_values::value_type const& one) {
    // Explicit versions are the numbers of the writes.
    auto const lane = one.value.by.lane;
    return lane < map_lanes && one.key == key_of(lane) &&
           (!(versioned.has(lane) || own.has(lane)) || one.version == one.value.by.number);
}

// ---- what chance decides before a round

enum class form { batches, batches_with_token, batches_in_parts, tables };

struct plan {
    std::uint64_t seed;
    tidefall::options how;
    form takes;
    bool fails;           ///< the processor, `undelivered` and the hook throw now and then
    bool takes_too_long;  ///< the processor waits for its token now and then
    bool observed;
    bool destroyed;  ///< without a stop before
    nanoseconds stop_within;
    std::uint64_t writes;      ///< of one writer
    std::uint64_t stop_after;  ///< accepted writes
};

nanoseconds micros(std::uint64_t count) {
    return std::chrono::microseconds(count);
}
nanoseconds some_interval(dice& random) {
    return random.one_in(10) ? never : micros(20U << random.below(8));
}
nanoseconds some_timeout(plan const& drawn, dice& random) {
    return drawn.takes_too_long || random.one_in(8) ? micros(random.between(1, 20) * 100) : nanoseconds(60s);
}
std::size_t some_batch_size(dice& random) {
    return random.one_in(10) ? std::numeric_limits<std::size_t>::max() : random.between(1, random.one_in(2) ? 20 : 600);
}
std::optional<std::size_t> some_limit(dice& random, std::uint64_t most) {
    if (random.one_in(3)) return std::nullopt;
    return random.between(1, random.one_in(3) ? 30 : most);
}
/// For a write that waits: long enough for whatever, or not.
nanoseconds some_overflow_timeout(dice& random) {
    return random.one_in(3) ? micros(random.below(20) * 100) : nanoseconds(60s);
}

plan draw(std::uint64_t seed, bool has_oldest) {
    dice random(seed);
    plan drawn{};
    drawn.seed = seed;
    drawn.takes = static_cast<form>(random.below(4));
    drawn.fails = random.one_in(2);
    drawn.takes_too_long = drawn.takes == form::batches_with_token && random.one_in(2);
    drawn.observed = random.one_in(2);
    drawn.destroyed = random.one_in(8);
    constexpr nanoseconds deadlines[] = {0ns, 0ns, 300us, 3ms, 60s, never};
    drawn.stop_within = deadlines[random.below(std::size(deadlines))];
    drawn.writes = random.between(500, tests::unless_sanitized(10'000, 5));
    drawn.stop_after = random.below(2 * writers * drawn.writes);
    auto& how = drawn.how;
    how.partitions = random.one_in(3) ? 1 : random.between(2, 5);
    how.processing_interval = some_interval(random);
    how.processing_batch_size = some_batch_size(random);
    how.processing_timeout = some_timeout(drawn, random);
    how.drain_threshold = some_limit(random, 3'000);
    how.capacity = some_limit(random, 2'000);
    how.overflow = static_cast<tidefall::overflow_policy>(random.below(how.capacity && has_oldest ? 3 : 2));
    how.overflow_timeout = some_overflow_timeout(random);
    return drawn;
}

tidefall::options_update some_update(plan const& drawn, dice& random) {
    tidefall::options_update update;
    if (random.one_in(2)) update.processing_interval = some_interval(random);
    if (random.one_in(2)) update.processing_batch_size = some_batch_size(random);
    if (random.one_in(2)) update.processing_timeout = some_timeout(drawn, random);
    if (random.one_in(2)) update.drain_threshold = some_limit(random, 3'000);
    if (random.one_in(2)) update.capacity = some_limit(random, 2'000);
    if (random.one_in(2)) update.overflow_timeout = some_overflow_timeout(random);
    return update;
}

// ---- one round

/// Another queue on the same runtime, which callbacks of the first write to and flush.
struct neighbour {
    explicit neighbour(std::shared_ptr<tidefall::runtime> on)
        : items({.partitions = 1, .processing_interval = 100us, .runtime = std::move(on)},
                [this](std::span<stamp const> batch) {
                    for (auto const& one : batch) check.came_out(one, turn::regular);
                }) {}

    void write() {
        auto const mark = check.next(0);
        if (items.push(mark) == write_status::accepted) check.wrote(mark);
    }

    checker check{{{checker::rule::each, true}}};
    tidefall::queue<stamp> items;
};

/// What the threads and the callbacks of a round share. Callbacks keep it alive.
template <typename Kind>
struct scene {
    using buffer = typename Kind::buffer;
    using item = typename buffer::value_type;

    explicit scene(plan how) : drawn(std::move(how)), check(Kind::rules(drawn.how.partitions)) {}

    plan const drawn;
    checker check;
    std::atomic<std::uint64_t> accepted{0};
    std::atomic<std::uint64_t> refused{0};
    std::atomic<std::uint64_t> erased{0};
    std::atomic<std::uint64_t> touched{0};  ///< refused rvalues that were not left as they were
    std::atomic<std::uint64_t> damaged{0};  ///< values that are not as they were written
    std::atomic<std::uint64_t> unsorted{0};
    std::atomic<std::uint64_t> wrong{0};      ///< answers that cannot be
    std::atomic<std::uint64_t> delivered{0};  ///< values that the processor took, before it threw if it did
    std::atomic<std::uint64_t> left_over{0};  ///< values that `undelivered` took
    std::atomic<std::uint64_t> returned{0};   ///< values that it was called with
    std::atomic<std::uint64_t> thrown{0};     ///< by `undelivered` and the hook
    // Told by the hook.
    std::atomic<std::uint64_t> begun{0};
    std::atomic<std::uint64_t> ended{0};
    std::atomic<std::uint64_t> started{0};
    std::atomic<std::uint64_t> stopped{0};
    std::atomic<std::uint64_t> found_full{0};
    std::atomic<std::uint64_t> made_room{0};
    std::atomic<std::uint64_t> refused_full{0};  ///< values answered `full`, by what hooks are told
    std::atomic<std::uint64_t> failed{0};
    std::atomic<std::uint64_t> dropped{0};

    /// Callbacks that are running: what one of them counts is complete once it is over.
    std::atomic<std::uint64_t> inside{0};
    class callback {
    public:
        explicit callback(scene& in) : in_(in) { ++in_.inside; }
        callback(callback const&) = delete;
        callback& operator=(callback const&) = delete;
        ~callback() { --in_.inside; }

    private:
        scene& in_;
    };

    /// Calls `act(buffer)` unless the buffer is about to be destroyed.
    template <typename F>
    void visit(F act) {
        ++visitors_;
        if (auto* const to = buffer_.load()) act(*to);
        --visitors_;
    }
    void open(buffer& to) { buffer_ = &to; }
    void close() {
        buffer_ = nullptr;
        CHECK(tests::in_a_minute([&] { return visitors_ == 0; }));
    }

    std::shared_ptr<neighbour> beside;

    // ---- writes

    bool count(write_status status, stamp const& mark, std::uint64_t added = 0) {
        if (status == write_status::accepted) {
            ++accepted;
            check.wrote(mark, added);
        } else {
            ++refused;
        }
        return status != write_status::stopped;
    }
    /// A bulk write, which took the first ones. One that it did not take was answered and counted.
    bool count_all(std::size_t taken, std::vector<stamp> const& marks) {
        accepted += taken;
        for (std::size_t i = 0; i < taken; ++i) check.wrote(marks[i]);
        if (taken < marks.size()) ++refused;
        return true;  // the next single write finds out why
    }
    bool moved(write_status status, stamp const& mark, value const& given) {
        if (status != write_status::accepted && !given.intact()) ++touched;
        return count(status, mark);
    }

    /// Consecutive ones, each in the lane that `lane()` says.
    template <typename Lane>
    std::vector<stamp> several(std::size_t many, std::uint32_t first_lane, Lane lane) {
        std::vector<stamp> all(many, check.next(first_lane, many));
        for (std::size_t i = 0; i < many; ++i) {
            all[i].number += i;
            auto const to = lane();
            if (to != all[i].lane) {
                all[i].lane = to;
                all[i].earlier_number = 0;
            }
        }
        return all;
    }

    // ---- callbacks

    void account(item& one, turn how) {
        value& held = tests::value_in(one);
        if (!held.intact() || !in_its_place(one)) ++damaged;
        check.came_out(held.by, how, held.added);
        held.by.number = 0;  // `undelivered` may be called with it
    }

    /// A little luck, the same for the same values.
    dice luck(stamp const& first) const {
        return dice(drawn.seed ^ tests::mixed(first.number * checker::most_producers + first.producer));
    }

    template <typename Values>
    void process(Values&& values, std::size_t size, std::stop_token const* token) {
        callback const running(*this);
        auto random = luck(tests::value_in(*values.begin()).by);
        if (token != nullptr && drawn.takes_too_long && random.one_in(30)) {
            while (!token->stop_requested()) std::this_thread::yield();
        }
        bool const throws = drawn.fails && random.one_in(6);
        // A table that a call took is gone with it.
        auto const throws_at = !throws ? size + 1 : drawn.takes == form::tables ? size : random.below(size + 1);
        std::size_t at = 0;
        std::uint32_t lane = 0;
        for (auto& one : values) {
            if (at == throws_at) break;
            if (Kind::is_sorted && tests::value_in(one).by.lane < lane) ++unsorted;
            lane = tests::value_in(one).by.lane;
            account(one, turn::regular);
            ++at;
        }
        delivered += at;
        if (random.one_in(8)) visit([&](buffer& to) { write_inside(to, random); });
        if (throws) throw std::runtime_error("by chance");
    }

    /// Takes the first of them, and rejects the others or has them offered again.
    tidefall::batch_result process_in_part(std::span<item> values, tidefall::batch_info const& info) {
        auto random = luck(tests::value_in(values.front()).by);
        tidefall::batch_result result;
        bool const in_part = drawn.fails && random.one_in(4) && info.attempt < 4;
        auto const taken = in_part ? static_cast<std::size_t>(random.below(values.size())) : values.size();
        result.reject_from(taken);
        if (!random.one_in(4)) result.retry_after(micros(random.below(3) * random.below(300)));
        if (taken > 0) process(values.first(taken), taken, nullptr);
        return result;
    }

    void give_back(std::span<item> values, tidefall::failure const& why) {
        callback const running(*this);
        auto random = luck(tests::value_in(values.front()).by);
        auto const how = why.reason == tidefall::failure_reason::stopped    ? turn::rest
                         : why.reason == tidefall::failure_reason::overflow ? turn::any
                                                                            : turn::regular;
        std::uint64_t taken = 0;
        for (auto& one : values) {
            if (tests::value_in(one).by.number == 0) continue;
            account(one, how);
            ++taken;
        }
        left_over += taken;
        if (random.one_in(4)) visit([&](buffer& to) { write_one(to, Kind::inside); });
        bool const throws = drawn.fails && random.one_in(16);
        if (throws) ++thrown;
        returned += values.size();
        if (throws) throw std::runtime_error("by chance");
    }

    void write_inside(buffer& to, dice& random) {
        write_one(to, Kind::inside);
        for (bool const stops : {false, true}) {
            if (!random.one_in(8)) continue;
            if (!tests::deadlock_would_occur([&] { stops ? to.stop(0ns) : to.flush(0ns); })) ++wrong;
        }
        if (!beside) return;
        beside->write();
        if (random.one_in(4)) beside->items.flush(random.one_in(2) ? 0ns : nanoseconds(60s));
    }

    template <typename Order>
    void write_one(tidefall::queue<value, Order>& to, std::uint32_t lane) {
        auto const mark = check.next(lane);
        count(to.push(value_of(mark), tidefall::partition_key{lane}), mark);
    }
    void write_one(map_of_values& to, std::uint32_t lane) {
        auto const mark = check.next(lane);
        count(to.put(key_of(lane), value_of(mark)), mark);
    }

private:
    std::atomic<buffer*> buffer_{nullptr};
    std::atomic<std::uint64_t> visitors_{0};
};

/// Counts what it is told, and sometimes writes, or throws.
template <typename Kind>
class observer final : public tidefall::telemetry_hook {
public:
    explicit observer(std::shared_ptr<scene<Kind>> in) : in_(std::move(in)) {}

    void on_partition_start(tidefall::partition_start const&) override { told(in_->started, 1); }
    void on_partition_stop(tidefall::partition_stop const&) override { told(in_->stopped, 1); }
    void on_processing_start(tidefall::processing_start const& e) override { told(in_->begun, e.size); }
    void on_processing_stop(tidefall::processing_stop const& e) override { told(in_->ended, e.size); }
    void on_processing_failed(tidefall::processing_failed const& e) override { told(in_->failed, e.size); }
    void on_items_dropped(tidefall::items_dropped const& e) override { told(in_->dropped, e.size); }
    /// In the middle of a write on this thread: one more, before that has its place, could break the order of its lane.
    void on_partition_full(tidefall::partition_full const&) override { told(in_->found_full, 1, false); }
    void on_partition_room(tidefall::partition_room const& e) override {
        in_->refused_full += e.refused;
        told(in_->made_room, 1);
    }

private:
    void told(std::atomic<std::uint64_t>& sum, std::size_t size, bool writes = true) {
        typename scene<Kind>::callback const running(*in_);
        dice random(in_->drawn.seed + ++calls_);
        if (writes && random.one_in(8)) in_->visit([&](auto& to) { in_->write_one(to, Kind::inside); });
        bool const throws = in_->drawn.fails && random.one_in(16);
        if (throws) ++in_->thrown;
        sum += size;
        if (throws) throw std::runtime_error("by chance");
    }

    std::shared_ptr<scene<Kind>> const in_;
    std::atomic<std::uint64_t> calls_{0};
};

// ---- any operation of a writer; false once the buffer is stopped

template <typename Kind, typename Order>
bool act(scene<Kind>& in, tidefall::queue<value, Order>& to, dice& random) {
    auto const lane = random.one_in(2) ? by_thread.any(random) : by_key.any(random);
    auto const routed = [&](auto write) {
        return by_thread.has(lane) ? write() : write(tidefall::partition_key{lane});
    };
    auto const many = static_cast<std::size_t>(random.one_in(4) ? random.below(700) : random.below(20));
    auto const values_of = [](std::vector<stamp> const& marks) {
        std::vector<value> all;
        for (auto const& mark : marks) all.push_back(value_of(mark));
        return all;
    };
    switch (random.below(24)) {
        case 0: {
            auto const marks = in.several(many, lane, [&] { return lane; });
            auto const values = values_of(marks);
            return in.count_all(routed([&](auto const&... tags) { return to.push_range(values, tags...); }), marks);
        }
        case 1: {
            auto const marks = in.several(many, lane, [&] { return lane; });
            auto values = values_of(marks);
            auto const taken = routed([&](auto const&... tags) { return to.push_range(std::move(values), tags...); });
            for (std::size_t i = taken; i < values.size(); ++i) {
                if (!values[i].intact()) ++in.touched;
            }
            return in.count_all(taken, marks);
        }
        case 2: {
            auto const first = by_key.any(random);
            auto const marks = in.several(many, first, [&] { return by_key.any(random); });
            return in.count_all(to.push_range(values_of(marks), tidefall::partition_by{by_lane{}}), marks);
        }
        case 3:
        case 4:
        case 5:
        case 6: {
            auto const mark = in.check.next(lane);
            auto const one = value_of(mark);
            return in.count(routed([&](auto const&... tags) { return to.push(one, tags...); }), mark);
        }
        case 7:
        case 8:
        case 9: {
            auto const mark = in.check.next(lane);
            auto twin = std::make_shared<stamp const>(mark);
            return in.count(routed([&](auto const&... tags) {
                                return to.emplace(tags..., mark, std::uint64_t{0}, std::move(twin));
                            }),
                            mark);
        }
        default: {
            auto const mark = in.check.next(lane);
            auto one = value_of(mark);
            return in.moved(routed([&](auto const&... tags) { return to.push(std::move(one), tags...); }), mark, one);
        }
    }
}

bool act(scene<hash_map>& in, map_of_values& to, dice& random) {
    auto const many = static_cast<std::size_t>(random.below(30));
    switch (random.below(24)) {
        case 0: {
            auto const uses = random.one_in(2) ? stored : erased;
            auto const marks = in.several(many, uses.any(random), [&] { return uses.any(random); });
            std::vector<std::pair<std::string, value>> pairs;
            for (auto const& mark : marks) pairs.emplace_back(key_of(mark.lane), value_of(mark));
            return in.count_all(random.one_in(2) ? to.put_all(pairs) : to.put_all(std::move(pairs)), marks);
        }
        case 1: {
            // Nothing is newer: no other thread writes to it.
            auto const lane = own.from + in.check.producer();
            auto const marks = in.several(many, lane, [&] { return lane; });
            std::vector<std::tuple<std::string, value, std::uint64_t>> triples;
            for (auto const& mark : marks) triples.emplace_back(key_of(lane), value_of(mark), mark.number);
            return in.count_all(to.put_all_newer(std::move(triples)), marks);
        }
        case 2:
        case 3:
        case 4: {
            auto const mark = in.check.next(random.one_in(2) ? versioned.any(random) : own.from + in.check.producer());
            auto one = value_of(mark);
            return in.moved(to.put_newer(key_of(mark.lane), std::move(one), mark.number), mark, one);
        }
        case 5:
        case 6: {
            auto const mark = in.check.next(versioned_by_draw.any(random));
            auto one = value_of(mark);
            return in.moved(to.put_newer(key_of(mark.lane), std::move(one)), mark, one);
        }
        case 7:
        case 8:
        case 9:
        case 10:
        case 11:
        case 12: {
            auto const mark = in.check.next(updated.any(random));
            auto one = value_of(mark, random.below(1'000));
            bool const throws = random.one_in(64);
            auto const added = one.added;
            auto const add = [&](value& held) {
                if (throws) throw std::runtime_error("by chance");
                one.added += held.added;
                std::swap(one, held);
            };
            try {
                return in.count(
                    random.one_in(2) ? to.update(key_of(mark.lane), add) : to.update(key_of(mark.lane), value{}, add),
                    mark, added);
            } catch (std::runtime_error const&) {
                return true;
            }
        }
        case 13:
        case 14:
        case 15:
            if (to.erase(key_of(erased.any(random)))) ++in.erased;
            return true;
        case 16:
        case 17: {
            auto const lane = random.one_in(2) ? updated.any(random) : erased.any(random);
            auto const found = random.one_in(2) ? to.get(key_of(lane)) : to.get_or(key_of(lane), value{});
            if (found && found->twin && (!found->intact() || found->by.lane != lane)) ++in.wrong;
            if (random.one_in(8)) static_cast<void>(to.contains(key_of(lane)));
            return true;
        }
        default: {
            auto const mark = in.check.next(random.one_in(2) ? stored.any(random) : erased.any(random));
            auto one = value_of(mark);
            return in.moved(to.put(key_of(mark.lane), std::move(one)), mark, one);
        }
    }
}

/// Whatever is not a write.
template <typename Buffer>
void control(plan const& drawn, Buffer& buffer, std::atomic<std::uint64_t>& wrong, dice& random) {
    switch (random.below(8)) {
        case 0: {
            auto const complete = buffer.flush().complete;
            // A stop may give up beside it.
            if (!complete && drawn.stop_within >= 60s) ++wrong;
            break;
        }
        case 1: buffer.flush(0ns); break;
        case 2: buffer.flush(micros(random.below(2'000))); break;
        case 3:
        case 4: buffer.update_options(some_update(drawn, random)); break;
        case 5: buffer.partition(random.below(drawn.how.partitions)).update_options(some_update(drawn, random)); break;
        default: {
            auto const now = buffer.stats();
            if (now.accepted < now.processed + now.failed + now.dropped + now.in_flight) ++wrong;
            static_cast<void>(buffer.size());
            static_cast<void>(buffer.partition(0).size());
        }
    }
}

template <typename Kind>
std::unique_ptr<typename Kind::buffer> make(std::shared_ptr<scene<Kind>> const& in, tidefall::options how) {
    using buffer = typename Kind::buffer;
    using item = typename buffer::value_type;
    using table = typename tests::whole_table<buffer>::type;
    auto const back = [in](std::span<item> values, tidefall::failure const& why) { in->give_back(values, why); };
    switch (in->drawn.takes) {
        case form::batches:
            return std::make_unique<buffer>(
                std::move(how), [in](std::span<item> all) { in->process(all, all.size(), nullptr); }, back);
        case form::batches_in_parts:
            return std::make_unique<buffer>(
                std::move(how),
                [in](std::span<item> all, tidefall::batch_info const& info) { return in->process_in_part(all, info); },
                back);
        case form::batches_with_token:
            return std::make_unique<buffer>(
                std::move(how),
                [in](std::span<item> all, std::stop_token token) { in->process(all, all.size(), &token); }, back);
        default:
            return std::make_unique<buffer>(
                std::move(how), [in](table whole) { in->process(whole, whole.size(), nullptr); }, back);
    }
}

/// What is to add up after the stop: the buffer's own count, and that of the callbacks.
struct sum {
    char const* what;
    std::uint64_t told;
    std::uint64_t seen;
};
template <typename Kind>
std::vector<sum> sums(scene<Kind> const& in, tidefall::buffer_stats const& stats) {
    bool const tables = in.drawn.takes == form::tables;
    std::vector<sum> all{
        {"accepted", stats.accepted, in.accepted},
        {"refused", stats.refused, in.refused},
        {"erased", stats.erased, in.erased},
        {"with an outcome", stats.processed + stats.failed + stats.dropped, in.delivered + in.left_over},
        {"returned", tables ? stats.dropped : stats.failed + stats.dropped, in.returned},
        {"pending", stats.pending, 0},
        {"in flight", stats.in_flight, 0},
        {"thrown by hook and undelivered", stats.hook_failures, in.thrown},
    };
    if (in.drawn.observed) {
        all.push_back({"begun and ended", in.begun, in.ended});
        all.push_back({"failed, by the hook", stats.failed, in.failed});
        all.push_back({"dropped, by the hook", stats.dropped, in.dropped});
        all.push_back({"partitions started", in.drawn.how.partitions, in.started});
        all.push_back({"partitions stopped", in.drawn.how.partitions, in.stopped});
        all.push_back({"full and room again", in.found_full, in.made_room});
    }
    return all;
}

/// Waits until all adds up and no callback runs. A callback counts one thing after another and writes in between, so
/// that each sum is looked at, and the callbacks last: one that is yet to begin has a sum that it makes right.
template <typename Kind>
bool settles(scene<Kind> const& in, typename Kind::buffer const& buffer) {
    return tests::in_a_minute([&] {
        auto const all = sums(in, buffer.stats());
        return std::all_of(all.begin(), all.end(), [](sum const& one) { return one.told == one.seen; }) &&
               in.inside == 0;
    });
}

/// False if all was not well: then it may have taken a minute.
template <typename Kind>
bool play(plan const& drawn) {
    auto const in = std::make_shared<scene<Kind>>(drawn);
    dice random(drawn.seed + 1);
    auto how = drawn.how;
    if (drawn.observed) how.telemetry = std::make_shared<observer<Kind>>(in);
    if (random.one_in(2)) {
        how.runtime = tidefall::make_runtime({.workers = static_cast<std::size_t>(random.between(1, 3))});
        in->beside = std::make_shared<neighbour>(how.runtime);
    }
    auto buffer = make<Kind>(in, std::move(how));
    in->open(*buffer);

    std::vector<std::thread> threads;
    std::atomic<std::size_t> at_work{writers};
    for (std::size_t writer = 0; writer < writers; ++writer) {
        threads.emplace_back([&, writer] {
            dice own_random(tests::mixed(drawn.seed + writer));
            for (std::uint64_t i = 0; i < drawn.writes && act(*in, *buffer, own_random);) ++i;
            --at_work;
        });
    }
    threads.emplace_back([&] {
        dice own_random(tests::mixed(drawn.seed + writers));
        while (at_work > 0) control(drawn, *buffer, in->wrong, own_random);
    });
    std::optional<tidefall::drain_report> report;
    if (!drawn.destroyed) {
        while (at_work > 0 && in->accepted < drawn.stop_after) std::this_thread::yield();
        report = buffer->stop(drawn.stop_within);
    }
    for (auto& thread : threads) thread.join();
    bool settled = true;
    if (report) {
        CHECK(buffer->stop() == *report);
        if (drawn.stop_within >= 60s) CHECK(report->complete);
        CHECK(buffer->size() == 0);
        // A call that the stop did not wait for, and what follows it.
        settled = settles(*in, *buffer);
        CHECK(settled);
        auto const stats = buffer->stats();
        for (auto const& one : sums(*in, stats)) {
            INFO(one.what);
            CHECK(one.told == one.seen);
        }
        CHECK(in->refused_full <= stats.refused);
        tests::check_conservation(stats);
    }
    in->close();
    buffer.reset();
    CHECK(tests::in_a_minute([&] { return in->inside == 0; }));
    if (in->beside) {
        CHECK(in->beside->items.stop().complete);
        CHECK(in->beside->check.verdict() == "");
        in->beside.reset();
    }
    CHECK(in->touched == 0);
    CHECK(in->damaged == 0);
    CHECK(in->unsorted == 0);
    CHECK(in->wrong == 0);
    auto const verdict = in->check.verdict();
    CHECK(verdict == "");
    return settled && verdict.empty();
}

}  // namespace

TEMPLATE_TEST_CASE("stress: all operations at once, with failures, deadlines and options drawn by chance", "",
                   in_insertion_order, in_producer_order, sorted, hash_map) {
    bool well = true;
    for (std::uint64_t round = 0; round < 30 && well; ++round) {
        auto const drawn = draw(tests::mixed(tests::stress_seed() + round), TestType::has_oldest);
        INFO("round " << round << ", partitions " << drawn.how.partitions << ", form " << static_cast<int>(drawn.takes)
                      << ", stop within " << drawn.stop_within.count() << " ns");
        well = play<TestType>(drawn);
    }
}
