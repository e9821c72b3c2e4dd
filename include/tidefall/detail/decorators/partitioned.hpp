// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/async_batch.hpp>
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
    partitioned(std::in_place_t, M&& make) : make_(std::forward<M>(make)) {}

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

    /// With batches that are completed later, where the processors take these.
    template <typename V>
        requires(std::is_invocable_v<processor&, async_batch<V>>)
    decltype(auto) operator()(async_batch<V> batch) {
        auto const& info = batch.info();  // valid for as long as this call
        loan const its(owned_, info);
        auto& process = its.process();
        if (!process) process.emplace(std::invoke(make_, info.partition));
        return std::invoke(*process, std::move(batch));
    }

private:
    struct own {
        std::optional<processor> process;  ///< none before the first call, and where `make` threw
        bool in_use = false;
    };

    /// Of one `partitioned`: a copy begins without any, since its buffer has partitions of the same numbers.
    class owned {
    public:
        owned() = default;
        owned(owned const&) {}
        owned(owned&& other) noexcept : all_(std::move(other.all_)) {}
        owned& operator=(owned const&) = delete;
        ~owned() = default;

        /// For one call: what the partition has, unless another call has it still.
        std::shared_ptr<own> lend(std::size_t partition) {
            lock_guard const lock(mutex_);
            auto& its = all_[partition];
            if (!its || its->in_use) its = std::make_shared<own>();
            its->in_use = true;
            return its;
        }
        void give_back(own& one, bool is_spent) {
            lock_guard const lock(mutex_);
            one.in_use = is_spent;
        }

    private:
        detail::mutex mutex_;
        std::map<std::size_t, std::shared_ptr<own>> all_;  ///< guarded by mutex_
    };

    /// Lends what a partition has to one call. A call that is abandoned keeps it, and the next one has another made.
    class loan {
    public:
        loan(owned& from, batch_info const& info) : from_(from), info_(info), own_(from.lend(info.partition)) {}
        loan(loan const&) = delete;
        loan& operator=(loan const&) = delete;
        // A call that is abandoned from here on touches nothing more.
        ~loan() { from_.give_back(*own_, info_.services != nullptr && info_.services->is_abandoned()); }
        [[nodiscard]] std::optional<processor>& process() const noexcept { return own_->process; }

    private:
        owned& from_;
        batch_info const& info_;
        std::shared_ptr<own> const own_;
    };

    template <typename Batch, typename Token>
    decltype(auto) call(Batch&& batch, batch_info const& info, Token token) {
        loan const its(owned_, info);
        auto& process = its.process();
        if (!process) process.emplace(std::invoke(make_, info.partition));
        return call_with<called_with<processor, Batch>()>(*process, std::forward<Batch>(batch), info, token);
    }

    Make make_;
    owned owned_;
};

}  // namespace tidefall::inline v0::detail
