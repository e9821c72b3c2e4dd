// SPDX-License-Identifier: MIT
//
// What a buffer has to know of fork: the child has one thread, and whatever another one held at that instant stays
// locked for ever. So in a child nothing of the parent's is locked, joined or destroyed.
#pragma once

#include <tidefall/detail/sync.hpp>

#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#include <sys/mman.h>
#endif

namespace tidefall::inline v0::detail {

using process_word = atomic<std::uint32_t>;

/// How many processes of this line of children have asked for their number.
inline constinit process_word processes_numbered{0};

/// The word that holds the number of this process, once there is one; in a child it is 0 until the child asks.
inline constinit atomic<process_word*> process_number_at{nullptr};
inline constinit process_word process_number_if_not_wiped{0};

/// Makes the word. Where the system can, it wipes it in a child by itself, however that was made: `_Fork` and `clone`
/// run no handler. Elsewhere a handler of fork does.
inline process_word* make_process_word() noexcept {
#if defined(MADV_WIPEONFORK)
    constexpr std::size_t size = 4096;  // the system rounds it up to a page
    void* const page = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page != MAP_FAILED) {
        if (madvise(page, size, MADV_WIPEONFORK) == 0) return ::new (page) process_word(0);
        munmap(page, size);
    }
#endif
#if defined(__unix__) || defined(__APPLE__)
    // Relaxed: the child has one thread.
    pthread_atfork(nullptr, nullptr, [] { process_number_if_not_wiped.store(0, std::memory_order_relaxed); });
#endif
    return &process_number_if_not_wiped;
}

/// The word, made by the first who asks. It stays until the process ends.
inline process_word& process_number() noexcept {
    // Acquires [process word].
    auto* word = process_number_at.load(std::memory_order_acquire);
    if (word == nullptr) {
        auto* const made = make_process_word();
        // Releases [process word], and acquires it where another was faster, whose word it is then. The page of the
        // slower one is kept: it is one, once.
        if (process_number_at.compare_exchange_strong(word, made, std::memory_order_acq_rel,
                                                      std::memory_order_acquire)) {
            word = made;
        }
    }
    return *word;
}

/// Which process of a line of children something belongs to. It looks at the word of the module that made it, whichever
/// module asks: a program and its plugins have one each.
class home_process {
public:
    home_process() noexcept : word_(&process_number()) {
        // Relaxed, here and below: the word changes where a process has no other thread, or, for the first to ask in
        // a process, to a number that everybody takes.
        number_ = word_->load(std::memory_order_relaxed);
        if (number_ != 0) return;
        auto const next = processes_numbered.fetch_add(1, std::memory_order_relaxed) + 1;
        if (word_->compare_exchange_strong(number_, next, std::memory_order_relaxed, std::memory_order_relaxed)) {
            number_ = next;
        }
    }

    /// True in a child of the process that this was made in.
    [[nodiscard]] bool left() const noexcept { return word_->load(std::memory_order_relaxed) != number_; }

private:
    process_word* word_;
    std::uint32_t number_;
};

/// Takes a value, or a share of it, where nobody will destroy it.
template <typename T>
void leave_forever(T&& value) noexcept {
    using taken = std::remove_cvref_t<T>;
    alignas(taken) std::byte grave[sizeof(taken)];
    ::new (static_cast<void*>(grave)) taken(std::forward<T>(value));
}

}  // namespace tidefall::inline v0::detail
