// SPDX-License-Identifier: MIT
//
// The user's callables, with their types erased: which form a processor has is decided when it is compiled.
#pragma once

#include <tidefall/async_batch.hpp>
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

/// What a call of the processor gets beside its values, and where it may put what it says of them.
struct call_context {
    batch_info const& info;
    stop_signal const& signal;
    batch_result& result;
};

/// What the engine calls. Exactly one of the three is used, as `takes_table` and `takes_async` say.
template <typename Table>
class processor {
public:
    using value_type = typename Table::value_type;

    processor() = default;
    processor(processor const&) = delete;
    processor& operator=(processor const&) = delete;
    virtual ~processor() = default;

    [[nodiscard]] virtual bool takes_table() const noexcept = 0;
    [[nodiscard]] virtual bool takes_async() const noexcept = 0;
    [[nodiscard]] virtual bool takes_token() const noexcept = 0;
    virtual void process(std::span<value_type> batch, call_context const& call) = 0;
    virtual void process(delivered_table<Table>&& table, call_context const& call) = 0;
    virtual void process(async_batch<value_type>&& batch) = 0;
};

template <typename Table, typename F>
class processor_of final : public processor<Table> {
public:
    using typename processor<Table>::value_type;

    template <typename G>
    explicit processor_of(G&& f) : f_(std::forward<G>(f)) {}

    [[nodiscard]] bool takes_table() const noexcept override { return form.what == taken_as::table; }
    [[nodiscard]] bool takes_async() const noexcept override { return form.what == taken_as::async; }
    [[nodiscard]] bool takes_token() const noexcept override { return form.takes_token() || takes_async(); }

    void process(std::span<value_type> batch, [[maybe_unused]] call_context const& call) override {
        if constexpr (form.what == taken_as::batch)
            hand_over(std::span<value_type>(batch), call);
        else if constexpr (form.what == taken_as::const_batch)
            hand_over(std::span<value_type const>(batch), call);
        else
            static_cast<void>(batch);
    }

    void process(delivered_table<Table>&& table, [[maybe_unused]] call_context const& call) override {
        if constexpr (form.what == taken_as::table)
            hand_over(std::move(table), call);
        else
            static_cast<void>(table);
    }

    void process(async_batch<value_type>&& batch) override {
        if constexpr (form.what == taken_as::async)
            static_cast<void>(std::invoke(f_, std::move(batch)));
        else
            static_cast<void>(batch);
    }

private:
    static constexpr processor_form form = form_of<F, Table>();

    template <typename Argument>
    void hand_over(Argument&& argument, call_context const& call) {
        auto const token = [&] { return call.signal.token(); };
        if constexpr (is_batch_result<typename processor_result<F, Table>::type>)
            call.result = call_with<form.also>(f_, std::forward<Argument>(argument), call.info, token);
        else
            static_cast<void>(call_with<form.also>(f_, std::forward<Argument>(argument), call.info, token));
    }

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
