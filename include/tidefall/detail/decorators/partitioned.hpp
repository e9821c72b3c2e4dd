// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/decorators/inner_call.hpp>
#include <tidefall/detail/sync.hpp>
#include <tidefall/results.hpp>

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace tidefall::inline v0::detail {

/// `per_partition`: a processor for each partition, made by the first call for it.
template <typename Make>
class partitioned {
    using processor = std::decay_t<std::invoke_result_t<Make&, std::size_t>>;

    template <typename Batch>
    static constexpr bool takes = called_with<processor, Batch>() != beside::cannot_be_called;

public:
    template <typename M>
    partitioned(std::in_place_t, M&& make) : shared_(std::make_shared<shared>(std::forward<M>(make))) {}

#if defined(__cpp_lib_jthread)
    /// Callable with what the processors are callable with, whatever they take beside it.
    template <typename Batch>
        requires(takes<Batch>)
    decltype(auto) operator()(Batch batch, batch_info const& info, call_token token) {
        return call<Batch>(std::move(batch), info, [&] { return token; });
    }
#else
    template <typename Batch>
        requires(takes<Batch>)
    decltype(auto) operator()(Batch batch, batch_info const& info) {
        return call<Batch>(std::move(batch), info, [] {});
    }
#endif

private:
    struct own {
        std::optional<processor> process;  ///< none before the first call, and where `make` threw
        bool in_use = false;
    };

    struct shared {
        template <typename M>
        explicit shared(M&& how) : make(std::forward<M>(how)) {}

        Make make;
        detail::mutex mutex;
        std::map<std::size_t, std::shared_ptr<own>> all;  ///< guarded by the mutex
    };

    /// Lends what a partition has to one call. A call that is abandoned keeps it, and the next one has another made.
    class loan {
    public:
        loan(shared& from, batch_info const& info) : from_(from), info_(info) {
            lock_guard const lock(from_.mutex);
            auto& its = from_.all[info_.partition];
            if (!its || its->in_use) its = std::make_shared<own>();
            its->in_use = true;
            own_ = its;
        }
        loan(loan const&) = delete;
        loan& operator=(loan const&) = delete;
        ~loan() {
            // One that is abandoned from here on is left for the next call all the same: it touches nothing more.
            bool const is_kept = info_.services != nullptr && info_.services->is_abandoned();
            lock_guard const lock(from_.mutex);
            own_->in_use = is_kept;
        }
        [[nodiscard]] std::optional<processor>& process() const noexcept { return own_->process; }

    private:
        shared& from_;
        batch_info const& info_;
        std::shared_ptr<own> own_;
    };

    template <typename Batch, typename Token>
    decltype(auto) call(Batch&& batch, batch_info const& info, Token token) {
        auto const kept = shared_;
        loan const its(*kept, info);
        auto& process = its.process();
        if (!process) process.emplace(std::invoke(kept->make, info.partition));
        return call_with<called_with<processor, Batch>()>(*process, std::forward<Batch>(batch), info, token);
    }

    std::shared_ptr<shared> shared_;
};

}  // namespace tidefall::inline v0::detail
