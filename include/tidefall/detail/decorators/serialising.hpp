// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/decorators/gate.hpp>

#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

namespace tidefall::inline v0::detail {

/// `serialised`: one call at a time.
template <typename F>
class serialising {
public:
    template <typename G>
    serialising(G&& f, std::shared_ptr<gate> one_at_a_time) : f_(std::forward<G>(f)), gate_(std::move(one_at_a_time)) {}

    /// Callable with what the processor is callable with, and with nothing else.
    template <typename... Arguments, typename = std::enable_if_t<std::is_invocable_v<F&, Arguments...>>>
    decltype(auto) operator()(Arguments&&... arguments) {
        gate::pass const through(*gate_);
        return std::invoke(f_, std::forward<Arguments>(arguments)...);
    }

private:
    F f_;
    std::shared_ptr<gate> gate_;
};

}  // namespace tidefall::inline v0::detail
