// SPDX-License-Identifier: MIT
//
// Keys, values and versions that count themselves and throw where a test wants it.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <stdexcept>
#include <utility>

namespace tests {

/// Code of the user that a test may have throw.
enum class site {
    nowhere,
    hash,
    equal,
    make_key,
    copy_key,
    make_value,
    copy_value,
    make_version,
    copy_version,
    compare_versions,
    change,
    move_value,
    make_sort_key,
    copy_sort_key,
    move_sort_key,
    project,
    compare,
    iterate,
    process,
    undelivered,
    hook,
    copy_callable,
};

struct injected : std::runtime_error {
    injected() : runtime_error("injected") {}
};

/// Which call throws next, on any thread; tests that use it have one.
struct fault {
    static inline site at = site::nowhere;
    static inline std::size_t until = 0;
    static inline std::size_t calls = 0;  ///< of that site since it was armed

    static void arm(site where, std::size_t nth) noexcept {
        at = where;
        until = nth;
        calls = 0;
    }
    static void disarm() noexcept { arm(site::nowhere, 0); }
    static void pass(site here) {
        if (here != at) return;
        ++calls;
        if (until > 0 && --until == 0) throw injected();
    }
};

/// Objects that are alive, those that were moved from among them. Atomic, since g++ 12 drops the last store to a plain
/// number where an exception leaves a function that returns an optional, at -O1 and above.
struct alive {
    static inline std::atomic<std::ptrdiff_t> count = 0;
    alive() noexcept { ++count; }
    alive(alive const&) noexcept { ++count; }
    alive(alive&&) noexcept { ++count; }
    alive& operator=(alive const&) = delete;
    ~alive() { --count; }
};

/// A number whose construction may throw, at one of two sites; its moves too, where they are given one. A moved-from
/// one holds -1, one whose move threw what it held.
template <site Make, site Copy, site Move = site::nowhere>
class tracked {
public:
    tracked() : number_(0) { fault::pass(Make); }
    tracked(int number) : number_(number) { fault::pass(Make); }  // NOLINT(google-explicit-constructor)
    tracked(tracked const& other) : number_(other.number_), alive_(other.alive_) { fault::pass(Copy); }
    tracked(tracked&& other) noexcept(Move == site::nowhere)
        : number_((fault::pass(Move), std::exchange(other.number_, -1))) {}
    tracked& operator=(tracked const&) = delete;
    ~tracked() = default;

    [[nodiscard]] int number() const noexcept { return number_; }
    void set(int number) noexcept { number_ = number; }

private:
    int number_;
    alive alive_{};
};

using tracked_key = tracked<site::make_key, site::copy_key>;
using tracked_value = tracked<site::make_value, site::copy_value>;

struct tracked_version : tracked<site::make_version, site::copy_version> {
    using tracked::tracked;
    friend bool operator<(tracked_version const& a, tracked_version const& b) {
        fault::pass(site::compare_versions);
        return a.number() < b.number();
    }
};

/// Has many keys share a hash, so that each look-up asks for equality several times.
struct tracked_hash {
    std::size_t operator()(tracked_key const& key) const {
        fault::pass(site::hash);
        return static_cast<std::size_t>(key.number()) % 2;
    }
};
struct tracked_equal {
    bool operator()(tracked_key const& a, tracked_key const& b) const {
        fault::pass(site::equal);
        return a.number() == b.number();
    }
};

}  // namespace tests
