// SPDX-License-Identifier: MIT
//
// What the compiler can say of the contract, positive and negative. One of two translation units of one program.
#include <tidefall/tidefall.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

using namespace tidefall;

struct event {
    int id = 0;
    std::string what;
};
using events = queue<event>;

// Buffers are neither copyable nor movable.
static_assert(!std::is_copy_constructible_v<events> && !std::is_move_constructible_v<events>);
static_assert(!std::is_copy_assignable_v<events> && !std::is_move_assignable_v<events>);
static_assert(std::is_nothrow_destructible_v<events>);
static_assert(std::is_base_of_v<buffer<queue_table<event>>, events>);
static_assert(std::is_same_v<events::value_type, event>);
static_assert(std::is_final_v<manual_runtime> && std::is_base_of_v<runtime, manual_runtime>);

// Aggregates, whose every member has an initialiser.
static_assert(std::is_aggregate_v<options> && std::is_aggregate_v<options_update>);
static_assert(std::is_aggregate_v<runtime_options> && std::is_aggregate_v<failure>);
static_assert(std::is_aggregate_v<drain_report> && std::is_aggregate_v<buffer_stats>);
static_assert(std::is_base_of_v<std::invalid_argument, invalid_options>);
static_assert(std::is_same_v<decltype(options::processing_interval), std::chrono::nanoseconds>);
static_assert(std::is_same_v<decltype(options_update::capacity), std::optional<std::optional<std::size_t>>>);

// options_overlay is every field of options, in the same order, each optional. A field too many or too few in either
// does not compile here.
template <typename Options>
constexpr auto fields_of(Options& all) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t] = all;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t);
}
template <typename T>
struct each_optional;
template <typename... Fields>
struct each_optional<std::tuple<Fields&...>> {
    using type = std::tuple<std::optional<Fields>&...>;
};
static_assert(std::is_aggregate_v<options_overlay>);
static_assert(std::is_same_v<each_optional<decltype(fields_of(std::declval<options&>()))>::type,
                             decltype(fields_of(std::declval<options_overlay&>()))>);

// Named buffers.
struct event_queue : definition<event_queue, events> {
    static constexpr std::string_view environment = "MYAPP_EVENTS";
    static options defaults() { return {.name = "event_queue"}; }
};
static_assert(event_queue::environment == "MYAPP_EVENTS");
static_assert(std::is_same_v<decltype(event_queue::instance()), events&>);
static_assert(std::is_same_v<decltype(event_queue::stop()), drain_report>);
static_assert(!std::is_copy_constructible_v<registry<events>> && !std::is_move_constructible_v<registry<events>>);
static_assert(std::is_nothrow_destructible_v<registry<events>>);
static_assert(std::is_same_v<decltype(std::declval<registry<events> const&>().find("")), std::shared_ptr<events>>);

// The forms of a processor, and what is none.
template <typename F>
constexpr bool accepted = processor_for<F, queue_table<event>>;
static_assert(accepted<void (*)(std::span<event>)>);
static_assert(accepted<void (*)(std::span<event const>)>);
static_assert(accepted<void(std::span<event>)>);
static_assert(accepted<int (*)(queue_table<event>)>);
static_assert(accepted<std::function<void(std::span<event>)>>);
#if defined(__cpp_lib_jthread)
static_assert(accepted<void (*)(std::span<event>, std::stop_token)>);
static_assert(accepted<void (*)(queue_table<event>, std::stop_token)>);
#endif
static_assert(accepted<void (*)(async_batch<event>)>);
static_assert(!accepted<void (*)(async_batch<int>)>);
static_assert(!accepted<void (*)()>);
static_assert(!accepted<void (*)(event)>);
static_assert(!accepted<void (*)(std::span<int>)>);
static_assert(!accepted<void (*)(std::vector<event>)>);
static_assert(!accepted<void (*)(std::span<event>, int)>);
static_assert(!accepted<int>);
static_assert(undelivered_for<void (*)(std::span<event>, failure const&), event>);
static_assert(!undelivered_for<void (*)(std::span<event>), event>);

// Tags.
template <typename... Tags>
constexpr bool single = detail::single_write_tags<Tags...>;
template <typename... Tags>
constexpr bool bulk = detail::bulk_write_tags<Tags...>;
static_assert(single<> && single<partition_key<int>> && single<sort_key<int>, partition_key<int>>);
static_assert(!single<partition_key<int>, partition_key<int>>);
static_assert(!single<partition_by<int>> && !single<sort_key_by<int>> && !single<int>);
static_assert(bulk<partition_by<int>, sort_key_by<int>> && bulk<partition_key<int>>);
static_assert(!bulk<partition_by<int>, partition_key<int>> && !bulk<sort_key<int>, sort_key_by<int>>);
static_assert(std::is_same_v<decltype(partition_key{1}), partition_key<int>>);
static_assert(std::is_same_v<decltype(partition_key{"text"}), partition_key<char const (&)[5]>>);
static_assert(std::is_same_v<decltype(partition_key{std::string()}), partition_key<std::string const&>>);

// Tables.
static_assert(table<queue_table<event>> && table<queue_table<std::unique_ptr<int>>>);
static_assert(!table<std::vector<event>> && !table<int>);
static_assert(std::is_nothrow_move_constructible_v<queue_table<event>>);
static_assert(!std::is_copy_constructible_v<queue_table<event>>);
static_assert(std::forward_iterator<queue_table<event>::iterator>);
static_assert(std::forward_iterator<queue_table<event>::const_iterator>);
static_assert(std::is_convertible_v<queue_table<event>::iterator, queue_table<event>::const_iterator>);

using profiles = hash_map<std::string, event>;
using profile_table = hash_map_table<std::string, event>;
static_assert(!std::is_copy_constructible_v<profiles> && !std::is_move_constructible_v<profiles>);
static_assert(std::is_nothrow_destructible_v<profiles>);
static_assert(std::is_same_v<profiles::value_type, entry<std::string, event>>);
static_assert(std::is_base_of_v<buffer<profile_table>, profiles>);
static_assert(std::is_same_v<profile_table, hash_map_table<std::string, event, std::hash<std::string>,
                                                           std::equal_to<std::string>, std::uint64_t>>);
static_assert(std::is_aggregate_v<entry<int, int>> && std::is_same_v<entry<int, int>, entry<int, int, std::uint64_t>>);
static_assert(processor_for<void (*)(profile_table), profile_table>);
static_assert(processor_for<void (*)(std::span<entry<std::string, event> const>), profile_table>);
static_assert(!processor_for<void (*)(std::span<event>), profile_table>);
static_assert(table<profile_table> && table<hash_map_table<int, std::unique_ptr<int>>>);
static_assert(std::is_nothrow_move_constructible_v<profile_table> && !std::is_copy_constructible_v<profile_table>);
static_assert(std::forward_iterator<profile_table::iterator> && std::forward_iterator<profile_table::const_iterator>);
static_assert(std::is_convertible_v<profile_table::iterator, profile_table::const_iterator>);
static_assert(!std::is_convertible_v<profile_table::const_iterator, profile_table::iterator>);
static_assert(std::is_same_v<decltype(std::declval<profiles&>().get("")), std::optional<event>>);
// What `update` takes: what could change the value in its place.
struct counter {
    int n = 0;
    void grow() { ++n; }
    int look() const { return n; }
};
struct either {
    void operator()(counter& c) const { ++c.n; }
    void operator()(counter const&) const {}
};
template <typename F>
constexpr bool updates(F) {
    return detail::changes_in_place<F, counter>();
}
static_assert(updates([](counter& c) { ++c.n; }) && updates([](counter& c) mutable noexcept { return c.n++; }));
static_assert(updates([](auto& c) { ++c.n; }) && updates([](auto&... c) { (++c.n, ...); }));
static_assert(updates([](auto&& c) { ++c.n; }) && updates([](auto&& c) mutable noexcept { return ++c.n; }));
static_assert(updates([](auto&& c) { static_assert(std::is_lvalue_reference_v<decltype(c)>); }));
static_assert(updates(static_cast<void (*)(counter&)>(nullptr)) && updates(&counter::grow) && updates(either()));
static_assert(updates([](std::reference_wrapper<counter> c) { ++c.get().n; }));
static_assert(detail::changes_in_place<std::function<void(counter&)> const&, counter>());
static_assert(!updates([](counter c) { return ++c.n; }) && !updates([](counter const& c) { return c.n; }));
static_assert(!updates([](auto c) { return ++c.n; }) && !updates([](auto c) mutable noexcept { return ++c.n; }));
static_assert(!updates([](auto const& c) { return c.n; }) && !updates([](counter const c) { return c.n; }));
static_assert(!updates(static_cast<void (*)(counter)>(nullptr)));
static_assert(!updates(static_cast<void (*)(counter const&) noexcept>(nullptr)));
static_assert(!updates(&counter::look) && !updates(&counter::n));
static_assert(!detail::changes_in_place<std::function<void(counter)>, counter>());

// A stripe of either takes two cache lines at most, its hot part one.
static_assert(sizeof(detail::stripe<hash_map_table<int, int>>) == 128);
static_assert(sizeof(hash_map_table<int, int>) <= 64);

}  // namespace

std::size_t size_in_the_other_file();
tidefall::detail::thread_state& thread_in_the_other_file();

int main() {
    if (sizeof(events) != size_in_the_other_file()) return 1;
    // One state of a thread in the whole program.
    return &detail::state_of_this_thread() == &thread_in_the_other_file() ? 0 : 1;
}
