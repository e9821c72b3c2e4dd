// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/base/user_code.hpp>
#include <tidefall/detail/decorators/inner_call.hpp>
#include <tidefall/results.hpp>

#include <cstddef>
#include <exception>
#include <functional>
#include <span>
#include <type_traits>
#include <utility>

namespace tidefall::inline v0::detail {

/// `with_split`: halves a batch that cannot be taken for a reason of its data's, until the values are found that it is.
template <typename F, typename IsDataError>
class splitting : public decorator<splitting<F, IsDataError>> {
public:
    template <typename G, typename P>
    splitting(G&& f, P&& is_data_error) : f_(std::forward<G>(f)), is_data_error_(std::forward<P>(is_data_error)) {}

private:
    friend class decorator<splitting>;

    template <typename V>
    batch_result deliver(std::span<V const> batch, batch_info const& info, call_token const& token) {
        static_assert(takes_const_batch<F, V>,
                      "with_split: the processor must be callable as f(std::span<V const>), also with a "
                      "batch_info const& and a std::stop_token; V is the buffer's value_type");
        batch_result result;
        if constexpr (takes_const_batch<F, V>) {
            static_assert(!is_batch_result<result_of<F, std::span<V const>>>,
                          "with_split: the processor takes a batch whole or throws; one that returns a batch_result "
                          "says itself what it did not take");
            take<V>(batch, {0, batch.size(), nullptr}, info, token, result);
        }
        return result;
    }

    /// A part of the batch, and why what it is a part of was not taken.
    struct part {
        std::size_t first;
        std::size_t size;
        std::exception_ptr cause;
    };

    /// Delivers a part. False, and what is left of the batch was rejected, where it is not for its data that it is not
    /// taken, or the token is stopped.
    template <typename V>
    bool take(std::span<V const> batch, part const& of, batch_info const& info, call_token const& token,
              batch_result& result) {
        auto const reject_rest = [&](std::exception_ptr const& error) {
            result.because(error).reject_from(of.first);
            return false;
        };
        if (of.cause && token.stop_requested()) return reject_rest(of.cause);
        auto const error = thrown_by([&] { call_inner<F, V>(f_, batch.subspan(of.first, of.size), info, token); });
        if (!error) return true;
        bool is_of_data = false;
        if (auto const fault = thrown_by([&] { is_of_data = std::invoke(is_data_error_, error); })) {
            return reject_rest(fault);
        }
        if (!is_of_data) return reject_rest(error);
        if (of.size == 1) {
            result.because(error).refuse(of.first);
            return true;
        }
        auto const half = of.size - of.size / 2;
        return take<V>(batch, {of.first, half, error}, info, token, result) &&
               take<V>(batch, {of.first + half, of.size - half, error}, info, token, result);
    }

    F f_;
    IsDataError is_data_error_;
};

}  // namespace tidefall::inline v0::detail
