// SPDX-License-Identifier: MIT
//
// A buffer of your own: `distinct` delivers each value once a tick, however often it was inserted. All that it takes
// is a table that meets the concept `tidefall::table`, and a class that writes to it.
#include <tidefall/buffer.hpp>
#include <tidefall/queue.hpp>
#include "support/output.hpp"

#include <cstdint>
#include <cstdio>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

/// The values of a tick, each once, in the order of their first insertion. `take` hands them out side by side, for the
/// caller to destroy in place, which a std::unordered_set cannot; a `queue_table` can. It never moves a value, so that
/// an index can point at them: a hash table with open addressing, at most half full.
template <typename T>
class set_table {
public:
    using value_type = T;

    /// Adds the value if it is new. What an equality, a move or an allocation throws leaves the values as they were.
    tidefall::write_status insert(std::size_t hash, T&& value) {
        if (2 * (size() + 1) > index_.size()) grow();
        slot& place = place_of(index_, hash, &value);
        if (place.value == nullptr) place = {&values_.emplace_back(std::move(value)), hash};
        return tidefall::write_status::accepted;  // counts as coalesced where the size has not changed
    }

    // What the engine asks of a table. From the first `take` to `clear` nothing is inserted.
    std::size_t size() const noexcept { return values_.size(); }
    std::span<T> take(std::size_t most) noexcept { return values_.take(most); }
    void clear() noexcept {
        values_.clear();
        for (slot& one : index_) one = {};  // keeps the memory, as values_ does
    }
    void shrink_to_fit() noexcept { *this = set_table(); }

private:
    struct slot {
        T const* value = nullptr;
        std::size_t hash = 0;
    };

    /// The slot that holds the value, or else the free one where it belongs; for none, a free one.
    static slot& place_of(std::vector<slot>& in, std::size_t hash, T const* value) {
        // Spreads hashes: that of a number is often the number.
        for (auto i = hash * std::uint64_t{0x9E3779B97F4A7C15} >> 32;; ++i) {
            slot& one = in[static_cast<std::size_t>(i) & (in.size() - 1)];
            if (one.value == nullptr || (value && one.hash == hash && *one.value == *value)) return one;
        }
    }

    void grow() {
        std::vector<slot> larger(index_.empty() ? 16 : 2 * index_.size());
        for (slot const& one : index_)
            if (one.value != nullptr) place_of(larger, one.hash, nullptr) = one;
        index_.swap(larger);
    }

    tidefall::queue_table<T> values_;
    std::vector<slot> index_;  ///< a power of two of slots, or none
};

template <typename T>
class distinct : public tidefall::buffer<set_table<T>> {
public:
    using tidefall::buffer<set_table<T>>::buffer;
    tidefall::write_status insert(T value) {
        auto const hash = std::hash<T>()(value);  // here, as what follows runs under a lock
        return this->write(this->route_by(value), [&](auto& table) { return table.insert(hash, std::move(value)); });
    }
};

int main() {
    std::mutex mutex;  // several partitions may be delivered at once
    std::multiset<std::string> delivered;
    distinct<std::string> users({.name = "users", .processing_interval = std::chrono::hours(1)},
                                [&](std::span<std::string> batch) {
                                    std::lock_guard const lock(mutex);
                                    for (auto& user : batch) delivered.insert(std::move(user));
                                });
    auto const insert = [&] {
        for (int i = 0; i < 10'000; ++i) users.insert("user " + std::to_string(i % 100));
    };
    std::thread other(insert);
    insert();
    other.join();
    users.flush();  // ends the first tick
    insert();
    users.stop();  // and the second
    auto const stats = users.stats();
    std::printf("%zu inserted, %zu of them there already, %zu delivered in two ticks\n", std::size_t{stats.accepted},
                std::size_t{stats.coalesced}, delivered.size());
    return output::written("03_custom_table") && delivered.size() == 200 && stats.coalesced == 29'800 ? 0 : 1;
}
