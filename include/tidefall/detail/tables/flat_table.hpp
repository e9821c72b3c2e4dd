// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/base/to_size.hpp>
#include <tidefall/detail/tables/slot_group.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <limits>
#include <memory>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

namespace tidefall::inline v0::detail {

/// A hash table with open addressing whose values lie in its slots. It is told the hash of what it looks for or
/// inserts, and never calls a hash function of the user: `HashOf` gives the hash of a value that lies in a slot where
/// that is no code of the user's, and is `void` where the hash is to be kept beside the value.
///
/// Slots come in groups of 14, and the groups' tags lie together: a search reads the tags of one group, which stay in
/// the caches, and then, mostly, the one slot that it is after. A value goes into the first group on its way that has a
/// free slot, and there into the lowest, so that a table that is not full fills few cache lines; the way leads over all
/// groups. Each group counts the values that went past it, and an erase takes its own from these counts: a search ends
/// where nothing went past, and nothing has to be left behind for what was erased.
///
/// Bits of a hash: the low ones choose the group, bits 32 to 38 are the tag; the engine takes partition and stripe from
/// the top.
///
/// Thread safety: none; in a buffer the lock of its stripe guards it.
template <typename Value, typename HashOf, typename Matching = best_matching>
class flat_table {
    static_assert(std::is_nothrow_move_constructible_v<Value> && std::is_nothrow_destructible_v<Value>);

    static constexpr bool keeps_hash = std::is_void_v<HashOf>;

    struct plain_slot {
        Value value;
        template <typename Make>
        plain_slot(std::uint64_t, Make&& make) : value(make()) {}
        [[nodiscard]] bool has_hash(std::uint64_t) const noexcept { return true; }  // as far as is known
        [[nodiscard]] std::uint64_t hash() const noexcept { return HashOf{}(value); }
    };
    struct hashed_slot {
        Value value;
        std::uint64_t kept;
        template <typename Make>
        hashed_slot(std::uint64_t hash, Make&& make) : value(make()), kept(hash) {}
        [[nodiscard]] bool has_hash(std::uint64_t hash) const noexcept { return kept == hash; }
        [[nodiscard]] std::uint64_t hash() const noexcept { return kept; }
    };
    using slot = std::conditional_t<keeps_hash, hashed_slot, plain_slot>;

    template <typename Pointed>
    class iterator_over;

public:
    using value_type = Value;
    using iterator = iterator_over<Value>;
    using const_iterator = iterator_over<Value const>;

    flat_table() noexcept = default;
    flat_table(flat_table&& other) noexcept { swap(other); }
    flat_table& operator=(flat_table&& other) noexcept {
        flat_table(std::move(other)).swap(*this);
        return *this;
    }
    ~flat_table() {
        destroy_rest();
        release();
    }

    void swap(flat_table& other) noexcept {
        std::swap(groups_, other.groups_);
        std::swap(slots_, other.slots_);
        std::swap(last_group_, other.last_group_);
        std::swap(size_, other.size_);
        std::swap(room_for_, other.room_for_);
        std::swap(peak_, other.peak_);
        std::swap(taken_in_, other.taken_in_);
        std::swap(taken_, other.taken_);
        std::swap(fillings_, other.fillings_);
        std::swap(wanted_bits_, other.wanted_bits_);
    }
    friend void swap(flat_table& a, flat_table& b) noexcept { a.swap(b); }

    [[nodiscard]] std::size_t size() const noexcept { return size_; }

    /// Bytes that are allocated.
    [[nodiscard]] std::size_t memory() const noexcept { return slots_ == nullptr ? 0 : layout(last_group_ + 1).bytes; }

    [[nodiscard]] iterator begin() noexcept { return {*this, taken_in_, rest_of(taken_in_)}; }
    [[nodiscard]] iterator end() noexcept { return {}; }
    [[nodiscard]] const_iterator begin() const noexcept { return {*this, taken_in_, rest_of(taken_in_)}; }
    [[nodiscard]] const_iterator end() const noexcept { return {}; }

    /// Where a value is, if it `exists`.
    struct place {
        std::size_t group = 0;
        std::size_t slot = nowhere;
        static constexpr std::size_t nowhere = slot_group::size;

        [[nodiscard]] bool exists() const noexcept { return slot != nowhere; }
    };

    /// The value of this hash for which `equal(value)` is true. What `equal` throws leaves the table as it was.
    template <typename Equal>
    [[nodiscard]] place find(std::uint64_t hash, Equal&& equal) const {
        auto const tag = tag_of(hash);
        way to(*this, hash);
        // In a table too large for the caches, the slots' page is looked up beside the tags; which slot is not known.
        if (last_group_ >= large_from) prefetch(slots_ + to.group() * slot_group::size + slot_group::size / 4);
        for (std::size_t visited = 0; visited <= last_group_; ++visited, to.go_on()) {
            auto const& group = groups_[to.group()];
            for (auto found = Matching::equal(group, tag); !found.none(); found = found.without_first()) {
                place const here{to.group(), found.first()};
                auto const& candidate = at(here);
                if (candidate.has_hash(hash) && equal(candidate.value)) [[likely]]
                    return here;
            }
            if (group.passed == 0) [[likely]]
                break;
        }
        return {};
    }

    [[nodiscard]] Value& operator[](place of) noexcept { return at(of).value; }
    [[nodiscard]] Value const& operator[](place of) const noexcept { return at(of).value; }
    [[nodiscard]] iterator iterator_to(place of) noexcept { return {*this, of.group, from(of)}; }
    [[nodiscard]] const_iterator iterator_to(place of) const noexcept { return {*this, of.group, from(of)}; }

    /// Inserts what `make()` returns, built in its slot, under this hash; `then(value)` may still refuse by throwing.
    /// The table does not hold it yet. What they or an allocation throw leaves the values as they were.
    template <typename Make, typename Then>
    void insert(std::uint64_t hash, Make&& make, Then&& then) {
        if (size_ >= room_for_) [[unlikely]]
            grow();
        auto const target = free_place(hash);
        slot& made = *::new (static_cast<void*>(std::addressof(at(target)))) slot(hash, std::forward<Make>(make));
        try {
            then(made.value);
        } catch (...) {
            std::destroy_at(std::addressof(made));
            throw;
        }
        settle(target, hash);
    }

    /// Takes a value out of its place.
    [[nodiscard]] Value erase(place of) noexcept {
        peak_ = (std::max)(peak_, size_);
        slot& old = at(of);
        for (way to(*this, old.hash()); to.group() != of.group; to.go_on()) {
            auto& passed = groups_[to.group()].passed;
            if (passed != slot_group::many) --passed;
        }
        groups_[of.group].tags[of.slot] = 0;
        --size_;
        Value out(std::move(old.value));
        std::destroy_at(std::addressof(old));
        return out;
    }

    /// Makes room for `count` values in all.
    void reserve(std::size_t count) {
        if (count > room_for_) resize(groups_for(count));
    }

    /// Moves all values of the other table into this one, unasked whether it holds their equals. Nothing was taken
    /// from either. Has room or throws, and then neither has changed.
    void absorb(flat_table&& other) {
        reserve(size_ + other.size_);
        other.peak_ = (std::max)(other.peak_, other.size_);
        move_from(other);
    }

    /// As the concept `table` says: a run of slots, at most one group.
    [[nodiscard]] std::span<Value> take(std::size_t most) noexcept {
        if (size_ == 0) return {};
        peak_ = (std::max)(peak_, size_);
        auto rest = rest_of(taken_in_);
        while (rest.none()) {
            ++taken_in_;
            taken_ = 0;
            rest = rest_of(taken_in_);
        }
        std::size_t count = 1;
        if constexpr (sizeof(slot) == sizeof(Value)) count = (std::min)(rest.run(), most);
        size_ -= count;
        taken_ = static_cast<std::uint16_t>(~rest.without_first(count).bits());
        return {std::addressof(at({taken_in_, rest.first()}).value), count};
    }

    /// As the concept `table` says. Memory of which no quarter was needed for 16 fillings is freed, and the next
    /// filling begins with what was.
    void clear() noexcept {
        if (slots_ == nullptr) return;
        peak_ = (std::max)(peak_, size_);
        destroy_rest();
        if (++fillings_ >= fillings_to_judge) {
            auto const needed = groups_for(peak_);
            fillings_ = 0;
            peak_ = 0;
            if (needed * 4 <= last_group_ + 1) {
                release();
                wanted_bits_ = static_cast<std::uint8_t>(std::countr_zero(needed));
                return;
            }
        }
        std::fill_n(groups_, last_group_ + 1, slot_group{});
    }

    void shrink_to_fit() noexcept {
        release();
        wanted_bits_ = 0;
        fillings_ = 0;
        peak_ = 0;
    }

private:
    static constexpr std::size_t alignment = (std::max)({std::size_t{64}, alignof(slot), alignof(slot_group)});
    static constexpr std::size_t values_in_group = 13;  ///< at most, on the average
    static constexpr std::uint8_t fillings_to_judge = 16;
    static constexpr std::size_t large_from = 256;  ///< groups

    static std::uint8_t tag_of(std::uint64_t hash) noexcept {
        return static_cast<std::uint8_t>(hash >> 32 | slot_group::full_bit);
    }

    /// The groups that a value of this hash may lie in, in turn. Steps grow by one, which visits each group of a power
    /// of two once.
    class way {
    public:
        way(flat_table const& in, std::uint64_t hash) noexcept
            : last_group_(in.last_group_), group_(to_size(hash & in.last_group_)) {}
        [[nodiscard]] std::size_t group() const noexcept { return group_; }
        void go_on() noexcept { group_ = (group_ + ++step_) & last_group_; }

    private:
        std::size_t last_group_;
        std::size_t group_;
        std::size_t step_ = 0;
    };

    struct layout {
        explicit layout(std::size_t groups) noexcept
            : slots_at((groups * sizeof(slot_group) + alignment - 1) / alignment * alignment),
              bytes(slots_at + groups * slot_group::size * sizeof(slot)) {}
        std::size_t slots_at;
        std::size_t bytes;
    };

    static std::size_t groups_for(std::size_t values) noexcept {
        return std::bit_ceil(values / values_in_group + (values % values_in_group > 0 ? 1 : 0));
    }

    slot& at(place of) noexcept { return slots_[of.group * slot_group::size + of.slot]; }
    slot const& at(place of) const noexcept { return slots_[of.group * slot_group::size + of.slot]; }

    /// The first free place on the way of this hash; there is one.
    [[nodiscard]] place free_place(std::uint64_t hash) const noexcept {
        way to(*this, hash);
        auto free = free_slots(to.group());
        while (free.none()) {
            to.go_on();
            free = free_slots(to.group());
        }
        return {to.group(), free.first()};
    }

    [[nodiscard]] slot_mask free_slots(std::size_t group) const noexcept {
        return slot_mask(all_slots).without(Matching::full(groups_[group]));
    }

    /// From now on the slot, which is built, is part of the table.
    void settle(place built, std::uint64_t hash) noexcept {
        for (way to(*this, hash); to.group() != built.group; to.go_on()) {
            auto& passed = groups_[to.group()].passed;
            if (passed != slot_group::many) ++passed;
        }
        groups_[built.group].tags[built.slot] = tag_of(hash);
        ++size_;
    }

#if defined(__GNUC__)
    [[gnu::noinline]]
#endif
    void
    grow() {
        resize(slots_ == nullptr ? std::size_t{1} << wanted_bits_ : (last_group_ + 1) * 2);
    }

    /// Moves all values to as many groups, which have room for them.
    void resize(std::size_t groups) {
        if (groups > (std::numeric_limits<std::size_t>::max)() / 2 / slot_group::size / sizeof(slot)) {
            throw std::bad_alloc();
        }
        flat_table larger;
        layout const parts(groups);
        void* const memory = ::operator new (parts.bytes, std::align_val_t{alignment});
        larger.groups_ = static_cast<slot_group*>(memory);
        std::uninitialized_fill_n(larger.groups_, groups, slot_group{});
        larger.slots_ = static_cast<slot*>(static_cast<void*>(static_cast<std::byte*>(memory) + parts.slots_at));
        larger.last_group_ = groups - 1;
        larger.room_for_ = groups * values_in_group;
        larger.peak_ = peak_;
        larger.fillings_ = fillings_;
        larger.move_from(*this);
        swap(larger);
    }

    /// There is room.
    void move_from(flat_table& other) noexcept {
        for (std::size_t group = 0; other.size_ > 0; ++group) {
            for (auto rest = Matching::full(other.groups_[group]); !rest.none(); rest = rest.without_first()) {
                slot& old = other.at({group, rest.first()});
                auto const hash = old.hash();
                auto const target = free_place(hash);
                ::new (static_cast<void*>(std::addressof(at(target)))) slot(std::move(old));
                settle(target, hash);
                std::destroy_at(std::addressof(old));
                --other.size_;
            }
        }
        if (other.slots_ != nullptr) std::fill_n(other.groups_, other.last_group_ + 1, slot_group{});
    }

    void destroy_rest() noexcept {
        if constexpr (!std::is_trivially_destructible_v<Value>) {
            for (auto run = take(slot_group::size); !run.empty(); run = take(slot_group::size)) {
                std::destroy(run.begin(), run.end());
            }
        }
        size_ = 0;
        taken_in_ = 0;
        taken_ = 0;
    }

    /// Gives the memory back. The table is empty.
    void release() noexcept {
        if (slots_ == nullptr) return;
        ::operator delete (static_cast<void*>(groups_), std::align_val_t{alignment});
        groups_ = const_cast<slot_group*>(&no_group);
        slots_ = nullptr;
        last_group_ = 0;
        room_for_ = 0;
    }

    /// The slots of a group that hold a value that was not taken.
    [[nodiscard]] slot_mask rest_of(std::size_t group) const noexcept {
        auto const full = Matching::full(groups_[group]);
        return group == taken_in_ ? full.without(slot_mask(taken_)) : full;
    }

    [[nodiscard]] slot_mask from(place of) const noexcept {
        return Matching::full(groups_[of.group]).without(slot_mask((1U << of.slot) - 1U));
    }

    /// Stays valid where its table is moved or swapped.
    template <typename Pointed>
    class iterator_over {
    public:
        using iterator_category = std::forward_iterator_tag;
        using value_type = Value;
        using difference_type = std::ptrdiff_t;
        using pointer = Pointed*;
        using reference = Pointed&;

        iterator_over() noexcept = default;
        iterator_over(flat_table const& of, std::size_t group, slot_mask rest) noexcept
            : groups_(of.groups_), slots_(of.slots_), last_group_(of.last_group_), group_(group), rest_(rest) {
            skip_empty();
        }
        // NOLINTNEXTLINE(google-explicit-constructor): an iterator converts to its constant one
        operator iterator_over<Value const>() const noexcept {
            iterator_over<Value const> constant;
            constant.groups_ = groups_;
            constant.slots_ = slots_;
            constant.last_group_ = last_group_;
            constant.group_ = group_;
            constant.rest_ = rest_;
            return constant;
        }

        reference operator*() const noexcept { return slots_[group_ * slot_group::size + rest_.first()].value; }
        pointer operator->() const noexcept { return std::addressof(**this); }
        iterator_over& operator++() noexcept {
            rest_ = rest_.without_first();
            skip_empty();
            return *this;
        }
        iterator_over operator++(int) noexcept {
            auto const before = *this;
            ++*this;
            return before;
        }
        friend bool operator==(iterator_over const& a, iterator_over const& b) noexcept {
            return a.slots_ == b.slots_ && a.group_ == b.group_ && a.rest_.bits() == b.rest_.bits();
        }

    private:
        friend class iterator_over<std::remove_const_t<Pointed>>;

        void skip_empty() noexcept {
            while (rest_.none()) {
                if (group_ == last_group_) {
                    *this = {};
                    return;
                }
                rest_ = Matching::full(groups_[++group_]);
            }
        }

        // The end: no slots.
        slot_group const* groups_ = nullptr;
        slot* slots_ = nullptr;
        std::size_t last_group_ = 0;
        std::size_t group_ = 0;
        slot_mask rest_{0};
    };

    /// Stands for the groups of a table without memory, where nothing is found and nothing has room.
    static constexpr slot_group no_group{};

    // What a search and an insertion touch comes first: with the lock before it, it fits in one cache line.
    slot_group* groups_ = const_cast<slot_group*>(&no_group);
    slot* slots_ = nullptr;         ///< null: no memory
    std::size_t last_group_ = 0;    ///< their number, a power of two, less one
    std::size_t size_ = 0;          ///< values not taken
    std::size_t room_for_ = 0;      ///< values, before it grows
    std::size_t peak_ = 0;          ///< most values since memory was judged last, as far as it was noted
    std::uint32_t taken_in_ = 0;    ///< the group up to which values were taken
    std::uint16_t taken_ = 0;       ///< the slots of that group up to which they were
    std::uint8_t fillings_ = 0;     ///< since memory was judged last
    std::uint8_t wanted_bits_ = 0;  ///< the logarithm of the number of groups to begin with
};

}  // namespace tidefall::inline v0::detail
