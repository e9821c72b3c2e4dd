// SPDX-License-Identifier: MIT
//
// The user's callables, with their types erased: which form a processor has is decided when it is compiled.
#pragma once

#include <tidefall/detail/base/stop_signal.hpp>
#include <tidefall/processor.hpp>
#include <tidefall/results.hpp>

#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace tidefall::inline v0::detail {

/// What the engine calls. Exactly one of the two is used, as `takes_table` says.
template <typename Table>
class processor {
public:
    using value_type = typename Table::value_type;

    processor() = default;
    processor(processor const&) = delete;
    processor& operator=(processor const&) = delete;
    virtual ~processor() = default;

    [[nodiscard]] virtual bool takes_table() const noexcept = 0;
    [[nodiscard]] virtual bool takes_token() const noexcept = 0;
    virtual void process(std::span<value_type> batch, stop_signal const& signal) = 0;
    virtual void process(delivered_table<Table>&& table, stop_signal const& signal) = 0;
};

template <typename Table, typename F>
class processor_of final : public processor<Table> {
public:
    using typename processor<Table>::value_type;

    template <typename G>
    explicit processor_of(G&& f) : f_(std::forward<G>(f)) {}

    [[nodiscard]] bool takes_table() const noexcept override {
        return form == processor_form::table || form == processor_form::table_token;
    }
    [[nodiscard]] bool takes_token() const noexcept override {
        return form == processor_form::span_token || form == processor_form::const_span_token ||
               form == processor_form::table_token;
    }

    void process(std::span<value_type> batch, [[maybe_unused]] stop_signal const& signal) override {
        if constexpr (form == processor_form::span_token)
            std::invoke(f_, batch, signal.token());
        else if constexpr (form == processor_form::const_span_token)
            std::invoke(f_, constant(batch), signal.token());
        else if constexpr (form == processor_form::span)
            std::invoke(f_, batch);
        else if constexpr (form == processor_form::const_span)
            std::invoke(f_, constant(batch));
        else
            static_cast<void>(batch);
    }

    void process(delivered_table<Table>&& table, [[maybe_unused]] stop_signal const& signal) override {
        if constexpr (form == processor_form::table_token)
            std::invoke(f_, std::move(table), signal.token());
        else if constexpr (form == processor_form::table)
            std::invoke(f_, std::move(table));
        else
            static_cast<void>(table);
    }

private:
    static constexpr processor_form form = form_of<F, Table>();
    static std::span<value_type const> constant(std::span<value_type> batch) noexcept { return batch; }

    F f_;
};

template <typename V>
class undelivered_handler {
public:
    undelivered_handler() = default;
    undelivered_handler(undelivered_handler const&) = delete;
    undelivered_handler& operator=(undelivered_handler const&) = delete;
    virtual ~undelivered_handler() = default;

    virtual void receive(std::span<V> values, failure const& why) = 0;
};

template <typename V, typename F>
class undelivered_handler_of final : public undelivered_handler<V> {
public:
    template <typename G>
    explicit undelivered_handler_of(G&& f) : f_(std::forward<G>(f)) {}

    void receive(std::span<V> values, failure const& why) override { std::invoke(f_, values, why); }

private:
    F f_;
};

/// Throws if `f` is a null pointer or an empty wrapper such as std::function.
template <typename F>
void require_callable(F const& f, char const* what) {
    using callable = std::remove_cvref_t<F>;
    if constexpr (std::is_constructible_v<callable, std::nullptr_t> && std::is_constructible_v<bool, F const&>) {
        if (!static_cast<bool>(f)) {
            throw std::invalid_argument(std::string("tidefall: ") + what + " is empty: there is nothing to call");
        }
    }
}

}  // namespace tidefall::inline v0::detail
