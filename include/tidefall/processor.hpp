// SPDX-License-Identifier: MIT
//
// Which callables a buffer accepts: as its processor, and for what its processor did not take.
#pragma once

#include <tidefall/async_batch.hpp>
#include <tidefall/detail/base/stop_signal.hpp>
#include <tidefall/results.hpp>

#include <cstdint>
#include <functional>
#include <span>
#include <type_traits>
#include <utility>

namespace tidefall::inline v0 {
namespace detail {

/// The table that a processor in table mode receives: `Table::delivered_table` where there is one.
template <typename Table>
struct delivered {
    using type = Table;
};
template <typename Table>
    requires requires {
        typename Table::delivered_table;
    }
struct delivered<Table> {
    using type = typename Table::delivered_table;
};
template <typename Table>
using delivered_table = typename delivered<Table>::type;

/// What a processor takes beside its batch or table.
enum class beside : std::uint8_t { info_and_token, token, info, nothing, cannot_be_called };

template <beside Way, typename F, typename Argument>
constexpr bool can_be_called() {
    if constexpr (Way == beside::info) return std::is_invocable_v<F&, Argument, batch_info const&>;
    if constexpr (Way == beside::nothing) return std::is_invocable_v<F&, Argument>;
#if defined(__cpp_lib_jthread)
    if constexpr (Way == beside::info_and_token)
        return std::is_invocable_v<F&, Argument, batch_info const&, stop_token>;
    if constexpr (Way == beside::token) return std::is_invocable_v<F&, Argument, stop_token>;
#endif
    return false;
}

constexpr beside after(beside way) noexcept {
    return static_cast<beside>(static_cast<std::uint8_t>(way) + 1);
}

/// The first of these ways in which `f` can be called with that argument.
template <typename F, typename Argument, beside Way = beside::info_and_token>
constexpr beside called_with() {
    if constexpr (Way == beside::cannot_be_called)
        return Way;
    else if constexpr (can_be_called<Way, F, Argument>())
        return Way;
    else
        return called_with<F, Argument, after(Way)>();
}

/// Calls `f` in that way. `token()` gives the stop token.
template <beside Way, typename F, typename Argument, typename Token>
decltype(auto) call_with(F& f, Argument&& argument, [[maybe_unused]] batch_info const& info,
                         [[maybe_unused]] Token&& token) {
    if constexpr (Way == beside::info_and_token)
        return std::invoke(f, std::forward<Argument>(argument), info, token());
    else if constexpr (Way == beside::token)
        return std::invoke(f, std::forward<Argument>(argument), token());
    else if constexpr (Way == beside::info)
        return std::invoke(f, std::forward<Argument>(argument), info);
    else
        return std::invoke(f, std::forward<Argument>(argument));
}

enum class taken_as : std::uint8_t { batch, const_batch, async, table, nothing };

/// In which of its forms a buffer calls a processor.
struct processor_form {
    taken_as what = taken_as::nothing;
    beside also = beside::cannot_be_called;

    friend bool operator==(processor_form const&, processor_form const&) = default;

    [[nodiscard]] constexpr bool takes_token() const noexcept {
        return also == beside::info_and_token || also == beside::token;
    }
};

/// The forms are tried in the order of `beside`, in each a mutable batch first, then `async_batch`, and tables last.
/// What comes after the first that fits is not looked at: a generic callable may not compile with it.
template <typename F, typename Table, beside Way = beside::info_and_token>
constexpr processor_form form_of() {
    using value = typename Table::value_type;
    if constexpr (Way == beside::cannot_be_called) {
        if constexpr (std::is_invocable_v<F&, async_batch<value>>) {
            return {taken_as::async, beside::nothing};
        } else {
            constexpr auto table = called_with<F, delivered_table<Table>>();
            return {table == beside::cannot_be_called ? taken_as::nothing : taken_as::table, table};
        }
    } else if constexpr (can_be_called<Way, F, std::span<value>>()) {
        return {taken_as::batch, Way};
    } else if constexpr (can_be_called<Way, F, std::span<value const>>()) {
        return {taken_as::const_batch, Way};
    } else {
        return form_of<F, Table, after(Way)>();
    }
}

/// Something that is waited for: a coroutine's task, a future.
template <typename R>
concept answers_later = requires {
    typename R::promise_type;
}
|| requires(R& one) {
    one.await_ready();
}
|| requires(R&& one) {
    std::forward<R>(one).operator co_await();
}
|| requires(R&& one) {
    operator co_await(std::forward<R>(one));
}
|| requires(R& one) {
    one.valid();
    one.wait();
};

/// A success or a failure.
template <typename R>
concept reports_status = std::is_same_v<R, bool> || std::is_enum_v<R> || requires(R const& one) {
    one.has_value();
    one.error();
} || requires(R const& one) {
    one.value();
    one.category();
    one.message();
};

/// A result of a processor that says something which nobody would hear.
template <typename Result, typename R = std::remove_cvref_t<Result>>
inline constexpr bool is_lost_result = answers_later<R> || reports_status<R>;
template <typename Result>
inline constexpr bool is_lost_result<Result, void> = false;

template <typename Result>
inline constexpr bool is_batch_result = std::is_same_v<std::remove_cvref_t<Result>, batch_result>;

/// What `f` gives back where it is called with that argument.
template <typename F, typename Argument>
constexpr auto given_back() {
    constexpr auto way = called_with<F, Argument>();
    if constexpr (way == beside::nothing)
        return std::type_identity<std::invoke_result_t<F&, Argument>>{};
    else if constexpr (way == beside::info)
        return std::type_identity<std::invoke_result_t<F&, Argument, batch_info const&>>{};
#if defined(__cpp_lib_jthread)
    else if constexpr (way == beside::token)
        return std::type_identity<std::invoke_result_t<F&, Argument, stop_token>>{};
    else if constexpr (way == beside::info_and_token)
        return std::type_identity<std::invoke_result_t<F&, Argument, batch_info const&, stop_token>>{};
#endif
    else
        return std::type_identity<void>{};
}
template <typename F, typename Argument>
using result_of = typename decltype(given_back<F, Argument>())::type;

template <typename F, typename Table, taken_as What = form_of<F, Table>().what>
struct processor_result {
    using type = result_of<F, delivered_table<Table>>;
};
template <typename F, typename Table>
struct processor_result<F, Table, taken_as::batch> {
    using type = result_of<F, std::span<typename Table::value_type>>;
};
template <typename F, typename Table>
struct processor_result<F, Table, taken_as::const_batch> {
    using type = result_of<F, std::span<typename Table::value_type const>>;
};
template <typename F, typename Table>
struct processor_result<F, Table, taken_as::async> {
    using type = std::invoke_result_t<F&, async_batch<typename Table::value_type>>;
};

/// False for a processor whose result says something that a buffer of `Table` would not hear.
template <typename F, typename Table>
constexpr bool is_heard() {
    return !is_lost_result<typename processor_result<F, Table>::type>;
}
/// False for one that takes whole tables and says which of their values it took.
template <typename F, typename Table>
constexpr bool may_say_so() {
    return form_of<F, Table>().what != taken_as::table || !is_batch_result<typename processor_result<F, Table>::type>;
}
/// False for one that takes an `async_batch` and returns what it is to be completed with.
template <typename F, typename Table>
constexpr bool completes_its_batch() {
    return form_of<F, Table>().what != taken_as::async || !is_batch_result<typename processor_result<F, Table>::type>;
}

}  // namespace detail

/// True for a callable that a buffer of `Table` accepts as its processor.
template <typename F, typename Table>
concept processor_for = std::is_constructible_v<std::decay_t<F>, F> && detail::form_of<std::decay_t<F>, Table>()
.what != detail::taken_as::nothing;

/// True for a callable that a buffer of values `V` accepts for what its processor did not take.
template <typename F, typename V>
concept undelivered_for = std::is_constructible_v<std::decay_t<F>, F> && std::is_invocable_v < std::decay_t<F>
&, std::span<V>, failure const& > ;

}  // namespace tidefall::inline v0
