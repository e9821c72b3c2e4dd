// SPDX-License-Identifier: MIT
//
// The table of a queue, which a processor in table mode receives.
#pragma once

#include <tidefall/version.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <functional>
#include <iterator>
#include <memory>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

namespace tidefall::inline v0 {

/// The values of one drained partition of a queue, in order: what a processor in table mode receives and owns.
/// A movable forward range; moving or swapping it ends its iterators.
///
/// Values lie in segments that are appended and never reallocated, so a value stays where it was written. The first
/// segment has 1 KiB, and each later one is as long as all before it together, up to 64 KiB; each has a power of two of
/// values that fit, or one value where that is larger. Segments are kept for the next filling, the longest for another
/// table of the same buffer too; those that stay unused are freed.
///
/// Thread safety: none; in a buffer the lock of its stripe guards it.
template <typename T>
class queue_table {
    static_assert(std::is_object_v<T> && !std::is_const_v<T> && !std::is_volatile_v<T>,
                  "a queue holds values, not references, constants or volatiles");
    static_assert(!std::is_object_v<T> || std::is_move_constructible_v<T>,
                  "a queue's values are moved: give T a move or a copy constructor, or hold it by std::unique_ptr");
    static_assert(std::is_nothrow_destructible_v<T>, "destructors of values must not throw");

    struct segment {
        segment* next;
        std::size_t capacity;
        T* used_to;  ///< end of the values, once a later segment is written

        T* values() noexcept {
            return static_cast<T*>(static_cast<void*>(reinterpret_cast<std::byte*>(this) + header_size));
        }
    };

    template <typename Value>
    class iterator_over;

    struct frees_segment {
        void operator()(segment* one) const noexcept { free(one); }
    };

public:
    using value_type = T;
    static constexpr bool coalesces = false;
    using iterator = iterator_over<T>;
    using const_iterator = iterator_over<T const>;

    queue_table() noexcept = default;
    queue_table(queue_table&& other) noexcept { swap(other); }
    queue_table& operator=(queue_table&& other) noexcept {
        queue_table(std::move(other)).swap(*this);
        return *this;
    }
    ~queue_table() {
        clear();
        shrink_to_fit();
    }

    void swap(queue_table& other) noexcept {
        std::swap(end_, other.end_);
        std::swap(limit_, other.limit_);
        std::swap(stretch_end_, other.stretch_end_);
        std::swap(begin_, other.begin_);
        std::swap(before_, other.before_);
        std::swap(written_, other.written_);
        std::swap(first_, other.first_);
        std::swap(taken_in_, other.taken_in_);
        std::swap(taken_to_, other.taken_to_);
        std::swap(kept_, other.kept_);
        std::swap(used_, other.used_);
        std::swap(fillings_, other.fillings_);
        std::swap(least_unused_, other.least_unused_);
    }
    friend void swap(queue_table& a, queue_table& b) noexcept { a.swap(b); }

    /// Values that were written and not taken.
    std::size_t size() const noexcept { return before_ + static_cast<std::size_t>(end_ - begin_); }
    bool empty() const noexcept { return size() == 0; }

    iterator begin() noexcept { return {first_untaken(), position(), this}; }
    iterator end() noexcept { return {written_, end_, this}; }
    const_iterator begin() const noexcept { return {first_untaken(), position(), this}; }
    const_iterator end() const noexcept { return {written_, end_, this}; }

    /// Constructs a value at the end. Throws what the constructor throws, or std::bad_alloc; then nothing changed.
    template <typename... Args>
    T& emplace_back(Args&&... args) {
        if (end_ == limit_) [[unlikely]]
            next_segment();
        T* const made = std::construct_at(end_, std::forward<Args>(args)...);
        ++end_;
        return *made;
    }

    /// A stretch is a number of places at the end of the segment that is written. While there is one, a value is
    /// constructed by `emplace_in_stretch`, which looks at nothing else; in between, everything else may be called too.
    [[nodiscard]] bool has_stretch() const noexcept { return std::less<>()(end_, stretch_end_); }
    /// True if a stretch of one place could begin.
    [[nodiscard]] bool has_place() const noexcept { return end_ != limit_; }
    /// There is a stretch, or a place for one. Throws what the constructor throws; then nothing changed.
    template <typename... Args>
    void emplace_in_stretch(Args&&... args) {
        std::construct_at(end_, std::forward<Args>(args)...);
        ++end_;
    }
    /// From now on there is a stretch of `most` places, or of fewer.
    void begin_stretch(std::size_t most) noexcept {
        stretch_end_ = end_ + (std::min)(most, static_cast<std::size_t>(limit_ - end_));
    }
    void end_stretch() noexcept { stretch_end_ = nullptr; }

    /// Takes back the value that was constructed last; nothing was taken meanwhile.
    void pop_back() noexcept { std::destroy_at(--end_); }

    /// Constructs `count` values at the end from `*source`, `*++source` and so on. If a constructor throws, the
    /// values before it stay.
    template <typename Iterator>
    void append(Iterator source, std::size_t count) {
        while (count > 0) {
            if (end_ == limit_) next_segment();
            auto const here = (std::min)(count, static_cast<std::size_t>(limit_ - end_));
            count -= here;
            if constexpr (std::is_trivially_copyable_v<T> && std::is_pointer_v<Iterator>) {
                end_ = std::uninitialized_copy_n(source, here, end_);
                source += here;
            } else {
                for (T* const stop = end_ + here; end_ != stop; static_cast<void>(++end_), ++source)
                    std::construct_at(end_, *source);
            }
        }
    }

    /// The first value that was not taken; there is one.
    T& front() noexcept {
        taken_to_ = position();
        taken_in_ = first_untaken();
        while (taken_to_ == end_of(taken_in_)) {
            // Used up: kept for later, behind what is written.
            segment* const used_up = std::exchange(first_, first_->next);
            used_up->next = std::exchange(written_->next, used_up);
            --used_;
            taken_in_ = first_;
            taken_to_ = first_->values();
        }
        return *taken_to_;
    }

    /// Destroys it. Only between calls of `front`, and never after `take`.
    void pop_front() noexcept {
        std::destroy_at(taken_to_++);
        --before_;
    }

    // What the engine asks of a table; see the concept `table`.

    /// Hands out the next values, `most` or fewer, in place. From now on they are the caller's to destroy; the
    /// memory stays until `clear`. Empty only if none is left.
    std::span<T> take(std::size_t most) noexcept {
        if (empty()) return {};
        taken_to_ = position();
        taken_in_ = first_untaken();
        for (;;) {
            auto const left = static_cast<std::size_t>(end_of(taken_in_) - taken_to_);
            if (left > 0) {
                std::span<T> const run(taken_to_, (std::min)(left, most));
                taken_to_ += run.size();
                before_ -= run.size();
                return run;
            }
            taken_in_ = taken_in_->next;
            taken_to_ = taken_in_->values();
        }
    }

    /// Destroys what was not taken and starts over in the same memory. Segments that stayed unused for the last 16
    /// fillings are freed.
    void clear() noexcept {
        if (first_ == nullptr) return;
        if constexpr (!std::is_trivially_destructible_v<T>) {
            while (!empty()) {
                auto const rest = take(size());
                std::destroy(rest.begin(), rest.end());
            }
        }
        free_unused();
        before_ = 0;
        taken_in_ = nullptr;
        used_ = 1;
        write_in(*first_);
    }

    /// Appends another table without moving a value. Nothing was taken from either.
    void absorb(queue_table&& other) noexcept {
        if (other.empty()) return;
        if (empty()) {
            swap(other);
            return;
        }
        written_->used_to = end_;
        before_ += static_cast<std::size_t>(end_ - begin_) + other.before_;
        segment* const kept_by_other = std::exchange(other.written_->next, std::exchange(written_->next, other.first_));
        written_ = other.written_;
        begin_ = other.begin_;
        end_ = other.end_;
        limit_ = other.limit_;
        end_stretch();
        kept_ += other.used_;
        used_ += other.used_;
        // What the other kept for later stays with it.
        other.kept_ -= other.used_;
        other.before_ = 0;
        other.first_ = other.written_ = nullptr;
        other.begin_ = other.end_ = other.limit_ = other.stretch_end_ = nullptr;
        other.used_ = 0;
        if (kept_by_other != nullptr) {
            other.first_ = kept_by_other;
            other.used_ = 1;
            other.write_in(*kept_by_other);
        }
    }

    /// Gives all memory back. The table is empty before.
    void shrink_to_fit() noexcept {
        for (segment* one = first_; one != nullptr;) free(std::exchange(one, one->next));
        first_ = written_ = taken_in_ = nullptr;
        begin_ = end_ = limit_ = stretch_end_ = taken_to_ = nullptr;
        before_ = kept_ = used_ = fillings_ = least_unused_ = 0;
    }

    // Segments of the longest kind may move from one table to another; see `detail/tables/spare_memory.hpp`.

    using spare_segment = std::unique_ptr<segment, frees_segment>;

    /// True if `count` more values need a segment of that kind, and none is kept.
    [[nodiscard]] bool wants_segment(std::size_t count) const noexcept {
        return !has_places(count) && next_is_longest();
    }
    [[nodiscard]] bool has_places(std::size_t count) const noexcept {
        return static_cast<std::size_t>(limit_ - end_) >= count;
    }
    /// So many values need one more segment at most.
    [[nodiscard]] std::size_t places_with_next() const noexcept {
        bool const has_next = written_ != nullptr && written_->next != nullptr;
        return static_cast<std::size_t>(limit_ - end_) + (has_next ? written_->next->capacity : next_capacity());
    }
    /// One that no value lies in; null if there is none.
    [[nodiscard]] spare_segment take_spare() noexcept {
        for (segment* one = written_; one != nullptr && one->next != nullptr; one = one->next) {
            if (one->next->capacity < longest) continue;
            spare_segment taken(one->next);
            one->next = taken->next;
            --kept_;
            return taken;
        }
        return nullptr;
    }
    /// It is the next to be written in. The table has written before.
    void keep(spare_segment one) noexcept {
        one->next = std::exchange(written_->next, one.get());
        static_cast<void>(one.release());
        ++kept_;
    }

private:
    static constexpr std::size_t alignment = (std::max)(alignof(T), alignof(segment));
    static constexpr std::size_t header_size = (sizeof(segment) + alignment - 1) / alignment * alignment;
    static constexpr std::size_t first_segment_bytes = 1024;
    static constexpr std::size_t longest_segment_bytes = 65'536;
    static constexpr std::size_t fillings_to_judge = 16;

    /// The values that fit, as a power of two so that batches of one seldom straddle two segments; at least 1.
    static constexpr std::size_t values_in(std::size_t bytes) {
        return (std::max)(std::size_t{1}, std::bit_floor(bytes / sizeof(T)));
    }

    static constexpr std::size_t longest = values_in(longest_segment_bytes);

    static segment* allocate(std::size_t capacity) {
        auto const bytes = header_size + capacity * sizeof(T);
        void* memory = nullptr;
        if constexpr (alignment > __STDCPP_DEFAULT_NEW_ALIGNMENT__) {
            memory = ::operator new (bytes, std::align_val_t{alignment});
        } else {
            memory = ::operator new(bytes);
        }
        return ::new (memory) segment{nullptr, capacity, nullptr};
    }

    static void free(segment* one) noexcept {
        if constexpr (alignment > __STDCPP_DEFAULT_NEW_ALIGNMENT__) {
            ::operator delete (one, std::align_val_t{alignment});
        } else {
            ::operator delete(one);
        }
    }

    /// Goes on writing in the next segment: one that was kept, or a new one.
#if defined(__GNUC__)
    [[gnu::noinline]]
#endif
    void
    next_segment() {
        segment* next = written_ == nullptr ? nullptr : written_->next;
        if (next == nullptr) {
            next = allocate(next_capacity());
            (written_ == nullptr ? first_ : written_->next) = next;
            ++kept_;
        }
        if (written_ != nullptr) {
            written_->used_to = end_;
            before_ += static_cast<std::size_t>(end_ - begin_);
        }
        ++used_;
        write_in(*next);
    }

    /// The second segment is as long as the first, and then they double: so each begins at a multiple of its length,
    /// and of batches of a power of two only the first may lie across segments.
    [[nodiscard]] std::size_t next_capacity() const noexcept {
        if (written_ == nullptr) return values_in(first_segment_bytes);
        if (written_ == first_) return written_->capacity;
        return (std::min)(written_->capacity * 2, longest);
    }
    [[nodiscard]] bool next_is_longest() const noexcept {
        return written_ != nullptr && written_->next == nullptr && next_capacity() == longest;
    }

    void write_in(segment& one) noexcept {
        written_ = &one;
        begin_ = end_ = one.values();
        limit_ = begin_ + one.capacity;
        end_stretch();
    }

    void free_unused() noexcept {
        least_unused_ = fillings_ == 0 ? kept_ - used_ : (std::min)(least_unused_, kept_ - used_);
        if (++fillings_ < fillings_to_judge) return;
        fillings_ = 0;
        segment* last = written_;
        for (std::size_t keep = kept_ - used_ - least_unused_; keep > 0; --keep) last = last->next;
        for (segment* one = std::exchange(last->next, nullptr); one != nullptr; --kept_) {
            free(std::exchange(one, one->next));
        }
    }

    T* end_of(segment const* one) const noexcept {
        return one == written_ ? end_ : one->used_to;
    }

    // Where the untaken values begin. Nothing was taken: at the first value.
    segment* first_untaken() const noexcept {
        return taken_in_ != nullptr ? taken_in_ : first_;
    }
    T* position() const noexcept {
        if (taken_in_ != nullptr) return taken_to_;
        return first_ != nullptr ? first_->values() : nullptr;
    }

    template <typename Value>
    class iterator_over {
    public:
        using iterator_category = std::forward_iterator_tag;
        using value_type = T;
        using difference_type = std::ptrdiff_t;
        using pointer = Value*;
        using reference = Value&;

        iterator_over() noexcept = default;
        iterator_over(segment* in, T* at, queue_table const* of) noexcept : in_(in), at_(at), of_(of) { skip_ends(); }
        // NOLINTNEXTLINE(google-explicit-constructor): an iterator converts to its constant one
        operator iterator_over<T const>() const noexcept { return {in_, at_, of_}; }

        reference operator*() const noexcept { return *at_; }
        pointer operator->() const noexcept { return at_; }
        iterator_over& operator++() noexcept {
            ++at_;
            skip_ends();
            return *this;
        }
        iterator_over operator++(int) noexcept {
            auto const before = *this;
            ++*this;
            return before;
        }
        friend bool operator==(iterator_over const& a, iterator_over const& b) noexcept { return a.at_ == b.at_; }

    private:
        void skip_ends() noexcept {
            while (in_ != nullptr && in_ != of_->written_ && at_ == in_->used_to) {
                in_ = in_->next;
                at_ = in_->values();
            }
        }

        segment* in_ = nullptr;
        T* at_ = nullptr;
        queue_table const* of_ = nullptr;
    };

    // What an append touches comes first: with the lock before it, it fits in one cache line.
    T* end_ = nullptr;          ///< where the next value goes
    T* stretch_end_ = nullptr;  ///< end of the stretch, in the same segment; null, or end_ and less: there is none
    T* limit_ = nullptr;        ///< end of the segment that is written
    T* begin_ = nullptr;        ///< its first value
    // Invariant: values in earlier segments less values taken; modulo 2^64, so that size() is one sum.
    std::size_t before_ = 0;
    segment* written_ = nullptr;   ///< the segment of end_; those after it are kept for later
    segment* first_ = nullptr;     ///< null: no memory
    segment* taken_in_ = nullptr;  ///< null: nothing was taken
    T* taken_to_ = nullptr;
    std::size_t kept_ = 0;          ///< segments in the list
    std::size_t used_ = 0;          ///< of those, up to written_
    std::size_t fillings_ = 0;      ///< in the window that judges what stays unused
    std::size_t least_unused_ = 0;  ///< in that window
};

}  // namespace tidefall::inline v0
