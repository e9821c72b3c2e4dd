// SPDX-License-Identifier: MIT
//
// Which spill files this process has set aside. `set_aside_spill` gives its caller nothing but a name, so it is here
// that the file stays open and locked, until `with_spill` takes over: who opens a spill file has what was set aside of
// it, too. Until then and not longer, since a file that is open keeps its room on the disk once it is removed.
#pragma once

#include <tidefall/detail/decorators/spill_output.hpp>
#include <tidefall/version.hpp>

#if defined(__unix__) || defined(__APPLE__)
#include <tidefall/detail/sync.hpp>

#include <memory>
#include <utility>
#include <vector>
#endif

#include <filesystem>

namespace tidefall::inline v0::detail {

/// The name of a spill file that was set aside.
[[nodiscard]] inline std::filesystem::path spill_set_aside(std::filesystem::path const& path) {
    auto aside = path;
    aside += ".replay";
    return aside;
}

#if defined(__unix__) || defined(__APPLE__)

class spill_claims {
public:
    /// Lives as long as the process. A child that was forked off has one of its own: another thread of its parent may
    /// have held the lock of this one at that instant, and what was claimed is the parent's.
    static spill_claims& of_this_process() {
        // Acquires what was released below [claims].
        auto* last = newest.load(std::memory_order_acquire);
        while (last == nullptr || last->home_.left()) {
            std::unique_ptr<spill_claims> made(new spill_claims(last));
            // Releases the claims; where another thread was first, acquires its [claims].
            if (newest.compare_exchange_strong(last, made.get(), std::memory_order_release,
                                               std::memory_order_acquire)) {
                return *made.release();
            }
        }
        return *last;
    }

    /// Calls `f(claims)`, and no other thread does meanwhile.
    template <typename F>
    decltype(auto) locked(F&& f) {
        lock_guard const lock(mutex_);
        return std::forward<F>(f)(*this);
    }

    /// Within `locked`.
    [[nodiscard]] bool has(std::filesystem::path const& aside) {
        std::erase_if(files_, [](spill_output const& one) { return one.file().has_no_name(); });
        for (auto const& one : files_) {
            if (one.file().is_at(aside)) return true;
        }
        return false;
    }

    /// Within `locked`.
    void add(spill_output&& file) { files_.push_back(std::move(file)); }

    /// That file, and those that were removed, are left to whoever comes.
    void release(std::filesystem::path const& aside) {
        lock_guard const lock(mutex_);
        std::erase_if(files_,
                      [&](spill_output const& one) { return one.file().has_no_name() || one.file().is_at(aside); });
    }

private:
    explicit spill_claims(spill_claims* before) noexcept : before_(before) {}

    static inline constinit atomic<spill_claims*> newest{nullptr};

    home_process const home_;
    [[maybe_unused]] spill_claims* const before_;  ///< of the parent, still to be reached for those who look for leaks

    // Invariant: guarded by mutex_.
    mutex mutex_;
    std::vector<spill_output> files_;
};

#endif

/// What was set aside of that file is from now on kept by who has the file itself open.
inline void hand_over_spill([[maybe_unused]] std::filesystem::path const& path) {
#if defined(__unix__) || defined(__APPLE__)
    spill_claims::of_this_process().release(spill_set_aside(path));
#endif
}

}  // namespace tidefall::inline v0::detail
