// SPDX-License-Identifier: MIT
//
// Which callables a buffer accepts: as its processor, and for what its processor did not take.
#pragma once

#include <tidefall/detail/base/stop_signal.hpp>
#include <tidefall/results.hpp>

#include <span>
#include <type_traits>

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

#if defined(__cpp_lib_jthread)
template <typename F, typename Argument>
inline constexpr bool takes_with_token = std::is_invocable_v<F&, Argument, stop_token>;
#else
template <typename F, typename Argument>
inline constexpr bool takes_with_token = false;
#endif

enum class processor_form { span_token, const_span_token, span, const_span, table_token, table, none };

template <typename F, typename Table>
constexpr processor_form form_of() {
    using value = typename Table::value_type;
    using batch = std::span<value>;
    using const_batch = std::span<value const>;
    if constexpr (takes_with_token<F, batch>)
        return processor_form::span_token;
    else if constexpr (takes_with_token<F, const_batch>)
        return processor_form::const_span_token;
    else if constexpr (std::is_invocable_v<F&, batch>)
        return processor_form::span;
    else if constexpr (std::is_invocable_v<F&, const_batch>)
        return processor_form::const_span;
    else if constexpr (takes_with_token<F, delivered_table<Table>>)
        return processor_form::table_token;
    else if constexpr (std::is_invocable_v<F&, delivered_table<Table>>)
        return processor_form::table;
    else
        return processor_form::none;
}

}  // namespace detail

/// True for a callable that a buffer of `Table` accepts as its processor.
template <typename F, typename Table>
concept processor_for = std::is_constructible_v<std::decay_t<F>, F> && detail::form_of<std::decay_t<F>, Table>()
!= detail::processor_form::none;

/// True for a callable that a buffer of values `V` accepts for what its processor did not take.
template <typename F, typename V>
concept undelivered_for = std::is_constructible_v<std::decay_t<F>, F> && std::is_invocable_v < std::decay_t<F>
&, std::span<V>, failure const& > ;

}  // namespace tidefall::inline v0
