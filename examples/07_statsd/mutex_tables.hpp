// SPDX-License-Identifier: MIT
#pragma once

#include "metric_line.hpp"
#include "store.hpp"
#include "tables.hpp"
#include "values.hpp"

#include <tidefall/string_hash.hpp>

#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>

namespace statsd {

/// What one writes without the library; what cannot be stored is lost.
class mutex_tables final : public tables {
    template <typename Value>
    using map = std::unordered_map<std::string, Value, tidefall::string_hash, std::equal_to<>>;

public:
    explicit mutex_tables(store& to) : store_(to) {}

    void add(std::string_view key, measurement const& one) override {
        std::lock_guard const lock(mutex_);
        switch (one.what) {
            case kind::counter: return add_to(std::get<0>(maps_), key, one);
            case kind::gauge: return add_to(std::get<1>(maps_), key, one);
            case kind::timer: return add_to(std::get<2>(maps_), key, one);
            case kind::set: return add_to(std::get<3>(maps_), key, one);
        }
    }

    void end_window() override {
        decltype(maps_) taken;
        {
            std::lock_guard const lock(mutex_);
            std::swap(taken, maps_);
        }
        write(kind::counter, std::get<0>(taken));
        write(kind::gauge, std::get<1>(taken));
        write(kind::timer, std::get<2>(taken));
        write(kind::set, std::get<3>(taken));
    }

    std::uint64_t stop() override {
        end_window();
        return lost_;
    }

private:
    template <typename Value>
    static void add_to(map<Value>& to, std::string_view key, measurement const& one) {
        auto found = to.find(key);
        if (found == to.end()) found = to.emplace(key, Value()).first;
        found->second.add(one);
    }

    template <typename Value>
    void write(kind what, map<Value> const& window) {
        try {
            if (!window.empty()) store_.write(what, window, true);
        } catch (std::exception const&) {
            lost_ += window.size();
        }
    }

    store& store_;
    std::uint64_t lost_ = 0;
    std::mutex mutex_ = {};
    std::tuple<map<counter_value>, map<gauge_value>, map<timer_value>, map<set_value>> maps_ = {};
};

}  // namespace statsd
