// SPDX-License-Identifier: MIT
//
// How a decorator calls the processor inside it, and is called itself.
#pragma once

#include <tidefall/detail/drain/call_services.hpp>
#include <tidefall/processor.hpp>
#include <tidefall/results.hpp>

#include <span>
#include <type_traits>
#include <utility>

namespace tidefall::inline v0::detail {

#if defined(__cpp_lib_jthread)
using call_token = stop_token;
[[nodiscard]] inline call_token token_of(stop_signal const& signal) {
    return signal.token();
}
#else
/// Stands in for a token where there are none.
struct call_token {
    [[nodiscard]] static constexpr bool stop_requested() noexcept { return false; }
};
[[nodiscard]] inline call_token token_of(stop_signal const&) {
    return {};
}
#endif

template <typename F, typename V>
inline constexpr bool takes_const_batch = called_with<F, std::span<V const>>() != beside::cannot_be_called;

/// Calls a processor as the engine does. Who asks for it has looked whether it can be.
template <typename F, typename V>
batch_result call_inner(F& f, std::span<V const> batch, batch_info const& info, call_token const& token) {
    using result = result_of<F, std::span<V const>>;
    static_assert(!is_lost_result<result>,
                  "the processor's result would be lost: return a tidefall::batch_result that says what was not "
                  "taken, throw, or discard the result by static_cast<void>");
    constexpr auto way = called_with<F, std::span<V const>>();
    auto const its_token = [&] { return token; };
    if constexpr (is_batch_result<result>) {
        return call_with<way>(f, std::span<V const>(batch), info, its_token);
    } else {
        static_cast<void>(call_with<way>(f, std::span<V const>(batch), info, its_token));
        return {};
    }
}

/// Gives a decorator its form: it takes batches of whatever kind, their infos, and tokens where there are any, and
/// hands all that to `deliver<V>(batch, info, token)` of the class that derives.
template <typename Derived>
class decorator {
public:
#if defined(__cpp_lib_jthread)
    template <typename V>
    batch_result operator()(std::span<V> batch, batch_info const& info, call_token token) {
        return self().template deliver<std::remove_const_t<V>>(batch, info, token);
    }
#else
    template <typename V>
    batch_result operator()(std::span<V> batch, batch_info const& info) {
        return self().template deliver<std::remove_const_t<V>>(batch, info, {});
    }
#endif

private:
    friend Derived;
    decorator() = default;
    [[nodiscard]] Derived& self() noexcept {
        return static_cast<Derived&>(*this);
    }
};

}  // namespace tidefall::inline v0::detail
