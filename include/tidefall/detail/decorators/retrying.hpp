// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/base/user_code.hpp>
#include <tidefall/detail/decorators/backoff.hpp>
#include <tidefall/detail/decorators/inner_call.hpp>
#include <tidefall/results.hpp>

#include <chrono>
#include <cmath>
#include <cstddef>
#include <exception>
#include <memory>
#include <span>
#include <utility>

namespace tidefall::inline v0::detail {

/// `with_retry`: has what was not taken offered again. `Options` are `retry_options`.
template <typename F, typename Options>
class retrying : public decorator<retrying<F, Options>> {
public:
    template <typename G>
    retrying(G&& f, Options&& how)
        : f_(std::forward<G>(f)), how_(std::move(how)), random_(std::make_shared<jitter_source>()) {}

private:
    friend class decorator<retrying>;

    template <typename V>
    batch_result deliver(std::span<V const> batch, batch_info const& info, call_token const& token) {
        static_assert(takes_const_batch<F, V>,
                      "with_retry: the processor must be callable as f(std::span<V const>), also with a "
                      "batch_info const& and a std::stop_token; V is the buffer's value_type");
        if constexpr (takes_const_batch<F, V>) {
            batch_result result;
            auto const thrown = thrown_by([&] { result = call_inner<F, V>(f_, batch, info, token); });
            if (!thrown && result_access::takes_all(result, batch.size())) return result;
            auto const reason = thrown ? thrown : result_access::error(result);
            if (info.attempt >= how_.attempts || info.stopping || token.stop_requested() ||
                (reason && how_.retry_if && !how_.retry_if(reason))) {
                if (thrown) std::rethrow_exception(thrown);
                result_access::end_retries(result);
                return result;
            }
            if (thrown) result.because(thrown).reject_from(0);
            if (!result_access::retries(result)) result.retry_after(delay_after(info.attempt));
            return result;
        } else {
            return {};
        }
    }

    [[nodiscard]] nanoseconds delay_after(std::size_t attempt) const {
        auto const grown =
            static_cast<double>(how_.first_delay.count()) * std::pow(how_.factor, static_cast<double>(attempt - 1));
        auto const delay = to_delay(grown, how_.max_delay);
        if (!(how_.jitter > 0)) return delay;
        double const part = 1 - how_.jitter * (how_.random ? how_.random() : random_->draw());
        return to_delay(static_cast<double>(delay.count()) * part, delay);
    }

    F f_;
    Options how_;
    std::shared_ptr<jitter_source> random_;
};

}  // namespace tidefall::inline v0::detail
