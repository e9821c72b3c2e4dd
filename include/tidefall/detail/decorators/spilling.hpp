// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/base/user_code.hpp>
#include <tidefall/detail/decorators/inner_call.hpp>
#include <tidefall/detail/decorators/spill_file.hpp>
#include <tidefall/detail/decorators/spill_records.hpp>
#include <tidefall/detail/drain/batch_parts.hpp>
#include <tidefall/results.hpp>
#include <tidefall/spill.hpp>

#include <algorithm>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace tidefall::inline v0::detail {

template <typename Encode, typename V>
inline constexpr bool encode_appends = std::is_invocable_v<Encode&, V const&, std::string&>;
template <typename Encode, typename V>
inline constexpr bool encode_returns = std::is_invocable_r_v<std::string_view, Encode&, V const&>;

/// Adds the record of a value; `one` is room for it.
template <typename Encode, typename V>
void encode_record(Encode& encode, V const& value, std::string& one, spill_records& to) {
    one.clear();
    if constexpr (encode_appends<Encode, V>) {
        std::invoke(encode, value, one);
    } else {
        auto&& encoded = std::invoke(encode, value);
        one = std::string_view(encoded);
    }
    if (one.size() > spill_records::max_payload) {
        throw std::length_error("a record of " + std::to_string(one.size()) + " bytes, 4 GiB or more");
    }
    to.add(one);
}

inline std::string message_of(std::exception_ptr const& error) {
    try {
        std::rethrow_exception(error);
    } catch (std::exception const& known) {
        return known.what();
    } catch (...) {
        return "something that is no std::exception";
    }
}

/// Writes so many values, all or none: `encode(records)` adds their records. `cause` is why they were not delivered.
/// Throws `spill_error` if the encoding throws, or they cannot be written.
template <typename EncodeAll>
void write_spill(spill_file& file, std::size_t count, std::exception_ptr const& cause, spill_sync sync,
                 EncodeAll encode) {
    auto const what = "cannot take " + std::to_string(count) + " values that were not delivered";
    spill_records records;
    if (auto const fault = thrown_by([&] { encode(records); })) {
        throw spill_error(file.path(), what + ": the encoding threw: " + message_of(fault), cause);
    }
    auto const error = file.append(records, count, sync);
    if (error == spill_is_full) throw spill_error(file.path(), what + ": it would exceed its max_bytes", cause);
    if (error) throw spill_error(file.path(), what, error, cause);
}

/// A file and its encoding, as `with_spill` uses them that is given a path.
template <typename Encode>
class spill_keeper {
public:
    template <typename V>
    static constexpr bool encodes = encode_appends<Encode, V> || encode_returns<Encode, V>;

    template <typename E>
    spill_keeper(std::shared_ptr<spill_file> file, E&& encode)
        : file_(std::move(file)), encode_(std::forward<E>(encode)) {}

    [[nodiscard]] spill_file& file() const noexcept { return *file_; }

    template <typename V>
    void encode(V const& value, std::string& room, spill_records& to) {
        encode_record(encode_, value, room, to);
    }

    [[nodiscard]] static bool goes_back() noexcept { return false; }
    template <typename Deliver>
    void offer(std::size_t, Deliver&&, outcome_news*) {}

private:
    std::shared_ptr<spill_file> file_;
    Encode encode_;
};

/// `with_spill`: writes what was not taken for good, and has what the file holds follow what was taken.
template <typename F, typename Keeper>
class spilling : public decorator<spilling<F, Keeper>> {
public:
    template <typename G>
    spilling(G&& f, Keeper keeper) : f_(std::forward<G>(f)), keeper_(std::move(keeper)) {}

private:
    friend class decorator<spilling>;

    static constexpr std::size_t least_at_once = 64;  ///< records of the file that are offered together

    template <typename V>
    batch_result deliver(std::span<V const> batch, batch_info const& info, call_token const& token) {
        static_assert(takes_const_batch<F, V>,
                      "with_spill: the processor must be callable as f(std::span<V const>), also with a "
                      "batch_info const& and a std::stop_token; V is the buffer's value_type");
        static_assert(Keeper::template encodes<V>,
                      "with_spill: the encoding must be callable as encode(V const&, std::string& to), or as "
                      "encode(V const&) that returns a std::string; V is the buffer's value_type");
        if constexpr (takes_const_batch<F, V> && Keeper::template encodes<V>) {
            batch_result result;
            auto const thrown = thrown_by([&] { result = call_inner<F, V>(f_, batch, info, token); });
            if (!thrown && result_access::takes_all(result, batch.size())) {
                if (keeper_.goes_back()) {
                    result_access::follow(result, &replay<V>, this, (std::max)(batch.size(), least_at_once));
                }
                return result;
            }
            if (thrown) result.because(thrown).reject_from(0);
            batch_verdict verdict(result, batch.size());
            bool const comes_back = result_access::retries(result) && !info.stopping && !token.stop_requested();
            if (!comes_back) verdict.refuse_rejected();
            return spill<V>(batch, info, result, verdict, thrown);
        } else {
            return {};
        }
    }

    /// Writes what is lost of a batch. What is not comes back as the result.
    template <typename V>
    batch_result spill(std::span<V const> batch, batch_info const& info, batch_result& said,
                       batch_verdict const& verdict, std::exception_ptr const& thrown) {
        using of_value = batch_verdict::of_value;
        auto const count = verdict.count(of_value::refused);
        auto const error = result_access::error(said);
        // Where a timeout came first the batch goes to `undelivered`, whatever is said here.
        if (count == 0 || (info.services != nullptr && !info.services->settle())) return said;
        // Made before they are written: what throws here leaves them to `undelivered` alone.
        batch_result rest;
        for (std::size_t i = 0; i < batch.size(); ++i) {
            if (verdict[i] == of_value::rejected) rest.reject(i);
        }
        rest.because(error).retry_after(result_access::delay(said));
        auto const fault = thrown_by([&] {
            write_spill(keeper_.file(), count, error, spill_sync::yes, [&](spill_records& to) {
                std::string room;
                for (std::size_t i = 0; i < batch.size(); ++i) {
                    if (verdict[i] == of_value::refused) keeper_.encode(batch[i], room, to);
                }
            });
        });
        if (fault) {
            keeper_.file().count_refused(count);
            if (thrown) std::rethrow_exception(fault);
            return said.because(fault);
        }
        if (info.services != nullptr) info.services->news().spilled(count, error);
        keeper_.file().tell_spilled(count, error);
        return rest;
    }

    /// One batch of the file, as a call of its own.
    template <typename V>
    static void replay(void* self, std::size_t most, batch_info const& info, stop_signal const& signal) {
        auto& mine = *static_cast<spilling*>(self);
        auto const token = token_of(signal);
        auto const deliver = [&](std::span<V const> batch) {
            auto result = call_inner<F, V>(mine.f_, batch, info, token);
            if (info.services != nullptr && !info.services->settle()) result.reject_from(0);
            return result;
        };
        mine.keeper_.offer(most, deliver, info.services != nullptr ? &info.services->news() : nullptr);
    }

    F f_;
    Keeper keeper_;
};

}  // namespace tidefall::inline v0::detail
