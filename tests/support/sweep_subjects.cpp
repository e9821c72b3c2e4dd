// SPDX-License-Identifier: MIT
#include "sweep.hpp"
#include "tracked.hpp"

#include <tidefall/hash_map.hpp>
#include <tidefall/queue.hpp>

#include <array>
#include <functional>
#include <iterator>
#include <list>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <tuple>
#include <type_traits>
#include <utility>

namespace tests::sweep {
namespace {

// ---- the callables

row row_of(auto const& value) {
    return {value.number(), 0, 0, 0};
}
template <typename K, typename V>
row row_of(tidefall::entry<K, V, tracked_version> const& one) {
    return {one.key.number(), one.value.number(), one.version.number(), one.updates};
}
/// Its versions are drawn: each run has others.
template <typename K, typename V>
row row_of(tidefall::entry<K, V, std::uint64_t> const& one) {
    return {one.key.number(), one.value.number(), one.version == 0 ? 0 : 1, one.updates};
}

struct unwelcome {};

class callable {
public:
    explicit callable(notes& into) noexcept : notes_(&into) {}
    callable(callable const& other) : notes_(other.notes_) { fault::pass(site::copy_callable); }
    callable& operator=(callable const&) = delete;
    ~callable() = default;

protected:
    template <typename Values>
    void process(Values const& values) const {
        process_unless(values, [](row const&) { return false; });
    }
    /// But for those that are rejected: they are neither processed nor thrown.
    template <typename Values, typename Rejects>
    void process_unless(Values const& values, Rejects rejects) const {
        std::lock_guard const lock(notes_->mutex);
        auto& thrown = notes_->thrown;
        auto const before = static_cast<std::ptrdiff_t>(thrown.size());
        bool unwanted = false;
        for (auto const& each : values) {
            if (rejects(row_of(each))) continue;
            thrown.push_back(row_of(each));
            unwanted = unwanted || thrown.back().key == 1;
        }
        if (unwanted && notes_->fails_on_1) throw unwelcome();
        fault::pass(site::process);
        notes_->processed.insert(notes_->processed.end(), thrown.begin() + before, thrown.end());
        thrown.erase(thrown.begin() + before, thrown.end());
    }
    template <typename Values>
    void take_back(Values const& values) const {
        std::lock_guard const lock(notes_->mutex);
        for (auto const& each : values) notes_->returned.push_back(row_of(each));
        fault::pass(site::undelivered);
    }

private:
    notes* notes_;
};

template <typename Value>
struct takes_batches : callable {
    using callable::callable;
    void operator()(std::span<Value> batch) const { process(batch); }
};
/// Rejects every third key.
template <typename Value>
struct takes_parts_with_token : callable {
    using callable::callable;
    tidefall::batch_result operator()(std::span<Value> batch, tidefall::batch_info const&,
                                      std::stop_token const&) const {
        auto const rejects = [](row const& one) { return one.key % 3 == 2; };
        tidefall::batch_result result;
        for (std::size_t i = 0; i < batch.size(); ++i) {
            if (rejects(row_of(batch[i]))) result.reject(i);
        }
        process_unless(batch, rejects);
        return result;
    }
};
template <typename Value>
struct takes_batches_later : callable {
    using callable::callable;
    void operator()(tidefall::async_batch<Value> batch) const {
        process(batch.values());
        batch.complete();
    }
};
template <typename Table>
struct takes_table : callable {
    using callable::callable;
    void operator()(Table whole) const { process(whole); }
};
template <typename Value>
struct takes_rest : callable {
    using callable::callable;
    void operator()(std::span<Value> rest, tidefall::failure const&) const { take_back(rest); }
};

// ---- what both have

template <typename Buffer>
struct call {
    char const* name;
    bool bulk;
    void (*run)(Buffer&, std::size_t count);
};
template <typename Buffer>
using calls = std::vector<call<Buffer>>;

/// A type of buffer: `buffer`, `whole_table`, `fill(buffer&, count)` and its table `all()`.
template <typename Kind>
class scene_of final : public scene {
    using buffer = typename Kind::buffer;
    using value = typename buffer::value_type;

public:
    scene_of(tidefall::options const& how, form as, notes& into) {
        takes_rest<value> const rest(into);
        switch (as) {
            case form::batches: held_.emplace(how, takes_batches<value>(into), rest); break;
            case form::parts_with_token: held_.emplace(how, takes_parts_with_token<value>(into), rest); break;
            case form::later: held_.emplace(how, takes_batches_later<value>(into), rest); break;
            case form::whole_table: held_.emplace(how, takes_table<typename Kind::whole_table>(into), rest); break;
        }
    }
    static std::unique_ptr<scene> make(tidefall::options const& how, form as, notes& into) {
        return std::make_unique<scene_of>(how, as, into);
    }
    void fill(std::size_t count) override { Kind::fill(*held_, count); }
    void run(std::size_t operation, std::size_t count) override { Kind::all()[operation].run(*held_, count); }
    tidefall::buffer_stats stats() const override { return held_->stats(); }
    std::size_t size() const override { return held_->size(); }
    void update_options(tidefall::options_update const& update) override { held_->update_options(update); }
    tidefall::drain_report flush() override { return held_->flush(); }
    tidefall::drain_report stop(std::chrono::nanoseconds within) override { return held_->stop(within); }

private:
    std::optional<buffer> held_;
};

template <typename Kind>
subject subject_of(std::string name, bool ordered, tidefall::options how, std::vector<std::size_t> fills) {
    std::vector<operation> operations;
    for (auto const& one : Kind::all()) operations.push_back({one.name, one.bulk});
    bool const drains = how.capacity && how.overflow == tidefall::overflow_policy::block;
    return {std::move(name),     ordered, drains, std::move(how), std::move(fills), std::move(operations),
            scene_of<Kind>::make};
}

/// Hashing it may throw.
struct route_key {
    int number;
};

/// What tags ask for a number, as `partition_by` and `sort_key_by` do.
template <typename T>
int number_in(T const& item) {
    fault::pass(site::project);
    if constexpr (std::is_integral_v<T>) {
        return item;
    } else {
        return item.number();
    }
}

/// So many numbers, one after another, once; every step may throw.
class steps {
public:
    class iterator {
    public:
        using iterator_concept = std::input_iterator_tag;
        using value_type = int;
        using difference_type = std::ptrdiff_t;
        iterator() = default;
        explicit iterator(int at) : at_(at) {}
        int operator*() const {
            fault::pass(site::iterate);
            return at_;
        }
        iterator& operator++() {
            fault::pass(site::iterate);
            ++at_;
            return *this;
        }
        void operator++(int) { ++*this; }
        bool operator==(iterator const&) const = default;

    private:
        int at_ = 0;
    };
    steps(int from, std::size_t count) : from_(from), to_(from + static_cast<int>(count)) {}
    iterator begin() const { return iterator(from_); }
    iterator end() const { return iterator(to_); }

private:
    int from_;
    int to_;
};

constexpr int first_new = 100;

template <typename Items>
Items made(std::size_t count) {
    Items items;
    for (std::size_t i = 0; i < count; ++i) items.emplace_back(first_new + static_cast<int>(i));
    return items;
}

}  // namespace
}  // namespace tests::sweep

template <>
struct std::hash<tests::sweep::route_key> {
    std::size_t operator()(tests::sweep::route_key const& key) const {
        tests::fault::pass(tests::site::hash);
        return static_cast<std::size_t>(key.number);
    }
};

namespace tests::sweep {
namespace {

using tidefall::partition_by;
using tidefall::partition_key;
using tidefall::sort_key;
using tidefall::sort_key_by;

// ---- queues

/// Its moves throw too, and four of them fill a first segment.
struct fragile : tracked<site::make_value, site::copy_value, site::move_value> {
    using tracked::tracked;
    std::array<char, 200> padding{};
};
struct sturdy : tracked<site::make_value, site::copy_value> {
    using tracked::tracked;
    std::array<char, 200> padding{};
};
using tracked_sort_key = tracked<site::make_sort_key, site::copy_sort_key, site::move_sort_key>;

/// In another order than numbers are written, and the same for some of them.
int rank(int number) {
    return number * 5 % 16;
}
struct ranked {
    template <typename T>
    int operator()(T const& item) const {
        fault::pass(site::project);
        return rank(item.number());
    }
};
struct rank_less {
    bool operator()(int a, int b) const {
        fault::pass(site::compare);
        return a < b;
    }
    bool operator()(tracked_sort_key const& a, tracked_sort_key const& b) const {
        fault::pass(site::compare);
        return a.number() < b.number();
    }
};

struct weighs {
    template <typename T>
    std::size_t operator()(T const& item) const {
        fault::pass(site::project);
        return static_cast<std::size_t>(1 + item.number() % 3);
    }
};

template <typename T, typename Order, typename Weight = tidefall::unweighed>
struct queue_kind {
    using buffer = tidefall::queue<T, Order, Weight>;
    using whole_table = tidefall::queue_table<T>;
    static constexpr bool keyed = std::is_same_v<Order, tidefall::sorted_by_key<tracked_sort_key, rank_less>>;

    /// Begins, and calls `write` with the tags that a write of this number needs.
    template <typename Write>
    static void one(int number, Write write) {
        if constexpr (keyed) {
            tracked_sort_key const sorts_by(rank(number));
            begin();
            write(sort_key{sorts_by});
        } else {
            begin();
            write();
        }
    }
    /// The same for a bulk write.
    template <typename Write>
    static void several(Write write) {
        begin();
        if constexpr (keyed) {
            write(sort_key_by{[](auto const& item) { return rank(number_in(item)); }});
        } else {
            write();
        }
    }

    static void fill(buffer& items, std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) {
            int const number = static_cast<int>(i * 7 % count);
            if constexpr (keyed) {
                items.push(T(number), sort_key{tracked_sort_key(rank(number))});
            } else {
                items.push(T(number));
            }
        }
    }

    static calls<buffer> const& all() {
        static calls<buffer> const table{
            {"push of an lvalue", false,
             [](buffer& to, std::size_t) {
                 T const item(first_new);
                 one(first_new, [&](auto const&... tags) { to.push(item, tags...); });
             }},
            {"push of an rvalue", false,
             [](buffer& to, std::size_t) {
                 T item(first_new);
                 one(first_new, [&](auto const&... tags) { to.push(std::move(item), tags...); });
             }},
            {"push by a partition key", false,
             [](buffer& to, std::size_t) {
                 T const item(first_new);
                 one(first_new, [&](auto const&... tags) { to.push(item, tags..., partition_key{route_key{1}}); });
             }},
            {"emplace", false,
             [](buffer& to, std::size_t) {
                 one(first_new, [&](auto const&... tags) { to.emplace(tags..., first_new); });
             }},
            {"emplace by a partition key", false,
             [](buffer& to, std::size_t) {
                 one(first_new,
                     [&](auto const&... tags) { to.emplace(partition_key{route_key{1}}, tags..., first_new); });
             }},
            {"push_range of an lvalue", true,
             [](buffer& to, std::size_t count) {
                 auto const items = made<std::vector<T>>(count);
                 several([&](auto const&... tags) { to.push_range(items, tags...); });
             }},
            {"push_range of an rvalue", true,
             [](buffer& to, std::size_t count) {
                 auto items = made<std::vector<T>>(count);
                 several([&](auto const&... tags) { to.push_range(std::move(items), tags...); });
             }},
            {"push_range of a list", true,
             [](buffer& to, std::size_t count) {
                 auto const items = made<std::list<T>>(count);
                 several([&](auto const&... tags) { to.push_range(items, tags...); });
             }},
            {"push_range of what is made into items", true,
             [](buffer& to, std::size_t count) {
                 several([&](auto const&... tags) { to.push_range(steps(first_new, count), tags...); });
             }},
            {"push_range by a partition key", true,
             [](buffer& to, std::size_t count) {
                 auto items = made<std::vector<T>>(count);
                 several([&](auto const&... tags) {
                     to.push_range(std::move(items), partition_key{route_key{1}}, tags...);
                 });
             }},
            {"push_range, partitioned by a function", true,
             [](buffer& to, std::size_t count) {
                 auto const items = made<std::vector<T>>(count);
                 several([&](auto const&... tags) {
                     to.push_range(items, tags...,
                                   partition_by{[](T const& item) { return route_key{number_in(item)}; }});
                 });
             }},
        };
        return table;
    }
};

// ---- hash maps

/// As tracked_hash and tracked_equal, and takes numbers as they are.
struct transparent_hash : tracked_hash {
    using is_transparent = void;
    using tracked_hash::operator();
    std::size_t operator()(int key) const {
        fault::pass(site::hash);
        return static_cast<std::size_t>(key) % 2;
    }
};
struct transparent_equal : tracked_equal {
    using is_transparent = void;
    using tracked_equal::operator();
    bool operator()(tracked_key const& a, int b) const {
        fault::pass(site::equal);
        return a.number() == b;
    }
};

/// One with versions of the user's, or one with versions that are drawn, and with a transparent look-up.
template <bool Transparent>
struct map_kind {
    using version = std::conditional_t<Transparent, std::uint64_t, tracked_version>;
    using buffer =
        tidefall::hash_map<tracked_key, tracked_value, std::conditional_t<Transparent, transparent_hash, tracked_hash>,
                           std::conditional_t<Transparent, transparent_equal, tracked_equal>, version>;
    using whole_table = typename buffer::table_type;

    // Where there are any keys, there are these. Only the last is routed by a partition key.
    static constexpr int old_key = 2;
    static constexpr int new_key = first_new;
    static constexpr int routed_key = 98;
    static constexpr int new_routed_key = 99;

    static void fill(buffer& map, std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) {
            int const key = static_cast<int>(i);
            map.put_newer(key, -1, version(1));
            map.put_newer(key, key, version(2));
        }
        if (count > 0) map.put(routed_key, 7, partition_key{route_key{1}});
    }

    template <int Key>
    static void put(buffer& map, std::size_t) {
        tracked_key const key(Key);
        tracked_value const value(7);
        begin();
        map.put(key, value);
    }
    template <int Key>
    static void put_newer(buffer& map, std::size_t) {
        tracked_key const key(Key);
        tracked_value const value(7);
        version const newer(3);
        begin();
        map.put_newer(key, value, newer);
    }
    template <int Key>
    static void put_what_converts(buffer& map, std::size_t) {
        begin();
        map.put(Key, 7);
    }
    template <int Key>
    static void update(buffer& map, std::size_t) {
        tracked_key const key(Key);
        begin();
        map.update(key, changed);
    }
    template <int Key>
    static void update_from(buffer& map, std::size_t) {
        tracked_key const key(Key);
        tracked_value const first(7);
        begin();
        map.update(key, first, changed);
    }
    static void changed(tracked_value& value) {
        fault::pass(site::change);
        value.set(value.number() + 1'000);
    }

    /// New and old keys in turn.
    static int key_at(std::size_t i) { return static_cast<int>(i % 2 == 0 ? first_new + i : i / 2); }
    static auto pairs(std::size_t count) {
        std::vector<std::pair<tracked_key, tracked_value>> all;
        for (std::size_t i = 0; i < count; ++i) all.emplace_back(key_at(i), 7);
        return all;
    }
    static auto triples(std::size_t count) {
        std::vector<std::tuple<tracked_key, tracked_value, version>> all;
        for (std::size_t i = 0; i < count; ++i) all.emplace_back(key_at(i), 7, version(3));
        return all;
    }

    static calls<buffer> const& all() {
        static calls<buffer> const table = [] {
            calls<buffer> most{
                {"put of a new key", false, put<new_key>},
                {"put of an old key", false, put<old_key>},
                {"put of rvalues", false,
                 [](buffer& map, std::size_t) {
                     tracked_key key(new_key);
                     tracked_value value(7);
                     begin();
                     map.put(std::move(key), std::move(value));
                 }},
                {"put of what converts", false, put_what_converts<new_key>},
                {"put of what converts, over an old key", false, put_what_converts<old_key>},
                {"put by a partition key", false,
                 [](buffer& map, std::size_t) {
                     begin();
                     map.put(new_routed_key, 7, partition_key{route_key{1}});
                 }},
                {"put_newer of a new key", false, put_newer<new_key>},
                {"put_newer of an old key", false, put_newer<old_key>},
                {"put_newer of a stale version", false,
                 [](buffer& map, std::size_t) {
                     begin();
                     map.put_newer(old_key, 7, version(1));
                 }},
                {"update of a new key", false, update<new_key>},
                {"update of an old key", false, update<old_key>},
                {"update of a new key from a value", false, update_from<new_key>},
                {"update of an old key from a value", false, update_from<old_key>},
                {"update by a partition key", false,
                 [](buffer& map, std::size_t) {
                     begin();
                     map.update(routed_key, changed, partition_key{route_key{1}});
                 }},
                {"get", false,
                 [](buffer& map, std::size_t) {
                     tracked_key const key(old_key);
                     begin();
                     static_cast<void>(map.get(key));
                 }},
                {"get of what converts", false,
                 [](buffer& map, std::size_t) {
                     begin();
                     static_cast<void>(map.get(old_key));
                 }},
                {"get_or", false,
                 [](buffer& map, std::size_t) {
                     tracked_value const fallback(7);
                     begin();
                     static_cast<void>(map.get_or(new_key, fallback));
                 }},
                {"contains", false,
                 [](buffer& map, std::size_t) {
                     begin();
                     map.contains(old_key);
                 }},
                {"erase", false,
                 [](buffer& map, std::size_t) {
                     tracked_key const key(old_key);
                     begin();
                     map.erase(key);
                 }},
                {"erase by what converts", false,
                 [](buffer& map, std::size_t) {
                     begin();
                     map.erase(old_key);
                 }},
                {"erase by a partition key", false,
                 [](buffer& map, std::size_t) {
                     begin();
                     map.erase(routed_key, partition_key{route_key{1}});
                 }},
                {"put_all", true,
                 [](buffer& map, std::size_t count) {
                     auto const all_of_them = pairs(count);
                     begin();
                     map.put_all(all_of_them);
                 }},
                {"put_all of an rvalue", true,
                 [](buffer& map, std::size_t count) {
                     auto all_of_them = pairs(count);
                     begin();
                     map.put_all(std::move(all_of_them));
                 }},
                {"put_all, partitioned by a function", true,
                 [](buffer& map, std::size_t count) {
                     auto const all_of_them = pairs(count);
                     begin();
                     map.put_all(all_of_them,
                                 partition_by{[](tracked_key const& key) { return route_key{number_in(key)}; }});
                 }},
                {"put_all_newer", true,
                 [](buffer& map, std::size_t count) {
                     auto const all_of_them = triples(count);
                     begin();
                     map.put_all_newer(all_of_them);
                 }},
                {"put_all_newer of an rvalue", true,
                 [](buffer& map, std::size_t count) {
                     auto all_of_them = triples(count);
                     begin();
                     map.put_all_newer(std::move(all_of_them));
                 }},
            };
            if constexpr (Transparent) {
                most.push_back({"put_newer of a version that is drawn", false, [](buffer& map, std::size_t) {
                                    begin();
                                    map.put_newer(new_key, 7);
                                }});
            }
            return most;
        }();
        return table;
    }
};

}  // namespace

std::vector<subject> const& subjects() {
    using tidefall::insertion_order;
    using tidefall::overflow_policy;
    static std::vector<subject> const all = [] {
        tidefall::options const how{.partitions = 2, .processing_batch_size = 3};
        auto one_partition = how;
        one_partition.partitions = 1;
        auto const full = [&](overflow_policy then) {
            auto limited = one_partition;
            limited.capacity = 4;
            limited.overflow = then;
            return limited;
        };
        auto weighed = how;
        weighed.processing_batch_weight = 4;
        // The fourth value fills a segment of a queue; of 20 a sort merges several runs.
        std::vector<std::size_t> const fills{0, 4, 20};
        using in_insertion_order = queue_kind<fragile, insertion_order>;
        // 26 keys are 13 of each hash: the next one has its table grow.
        std::vector<std::size_t> const keys{0, 4, 26};
        return std::vector<subject>{
            subject_of<in_insertion_order>("in insertion order", true, how, fills),
            subject_of<queue_kind<sturdy, insertion_order>>("of what moves without throwing", true, how, fills),
            subject_of<in_insertion_order>("that drops its oldest", true, full(overflow_policy::drop_oldest), fills),
            subject_of<in_insertion_order>("that refuses", true, full(overflow_policy::reject), {2, 4}),
            subject_of<in_insertion_order>("that blocks", true, full(overflow_policy::block), {2, 4}),
            subject_of<queue_kind<fragile, tidefall::producer_order>>("in producer order", true, how, fills),
            subject_of<queue_kind<fragile, tidefall::sorted_by<ranked{}, rank_less>>>("sorted", true, how, fills),
            subject_of<queue_kind<fragile, tidefall::sorted_by_key<tracked_sort_key, rank_less>>>("sorted by key", true,
                                                                                                  how, fills),
            subject_of<queue_kind<fragile, insertion_order, tidefall::weighed_by<weighs{}>>>("weighed", true, weighed,
                                                                                             fills),
            subject_of<map_kind<false>>("hash map", false, one_partition, keys),
            subject_of<map_kind<true>>("hash map, transparent", false, one_partition, keys),
            subject_of<map_kind<false>>("hash map that refuses", false, full(overflow_policy::reject), {2, 4}),
        };
    }();
    return all;
}

}  // namespace tests::sweep
