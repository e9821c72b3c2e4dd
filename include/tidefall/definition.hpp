// SPDX-License-Identifier: MIT
//
// A buffer that a type names, reached from anywhere in the program: options in its definition, which whoever runs the
// program can change by variables of the environment, and whoever starts it by options given there.
//
//     struct event_queue : tidefall::definition<event_queue, tidefall::queue<event>> {
//         static constexpr std::string_view environment = "MYAPP_EVENTS";
//         static tidefall::options defaults() { return {.processing_interval = 1s}; }
//     };
//
//     event_queue::start(processor, {.processing_batch_size = 512});   // at the beginning of main
//     event_queue::instance().push(e);                                 // anywhere
//     event_queue::stop();                                             // at its end: drains
//
// For any number of buffers by name see registry.hpp; where an object can be passed along, a plain buffer is simpler.
#pragma once

#include <tidefall/buffer.hpp>
#include <tidefall/detail/sync.hpp>
#include <tidefall/detail/text/type_name.hpp>
#include <tidefall/environment.hpp>
#include <tidefall/results.hpp>

#include <chrono>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace tidefall::inline v0 {

/// The `environment` of a definition that reads none.
inline constexpr std::string_view no_environment{};

/// The base of a type that names a buffer. Nothing of it is made: all is static. `Derived` has, both public,
///
///     static constexpr std::string_view environment;   the prefix of variables that `options_from_environment` reads,
///                                                      or `tidefall::no_environment`. It must be there
///     static tidefall::options defaults();             the options to begin with; without it those of `options`
///
/// and, if it likes, `process`, a static member that is called as a processor: then `start` need not be given one.
///
/// Where `defaults` gives no `name`, or "tidefall", the buffer is called as the type is, without namespaces and
/// template arguments: `event_queue`.
///
/// The environment goes before the defaults, and what `start` is given before both.
///
/// There is one buffer at a time, from `start` to `stop`. Nothing stops it when main ends: what it then holds is lost.
/// After a stop its threads, its processor and its tables' memory are given back, but the buffer itself stays for
/// ever, some KiB and its telemetry hook, so that whoever has a reference from before the stop is answered `stopped`.
/// (Where a call outlived the stop, the callables and the memory stay too; with `overflow_policy::drop_oldest`,
/// `undelivered` does.)
///
/// Thread safety: everything may be called from several threads at once. A child that is forked while another thread
/// runs `start` cannot start it.
template <typename Derived, typename Buffer>
class definition {
public:
    using buffer_type = Buffer;

    static options defaults() { return {}; }

    /// Starts the buffer and returns it. What `given` names goes before all else.
    ///
    /// Throws `std::logic_error` while it is started, before anything else; of two starts at once one throws. Throws
    /// `invalid_options`, whose what() says whether the value came from the defaults, from which variable of the
    /// environment, or from this call; and what the constructor of the buffer throws. Then it is not started, and can
    /// be.
    template <typename Processor,
              typename = std::enable_if_t<!std::is_same_v<std::remove_cvref_t<Processor>, options_overlay>>>
    static Buffer& start(Processor&& process, options_overlay const& given = {}) {
        return start_with(given, std::forward<Processor>(process));
    }

    /// The same with the definition's own processor, its static member `process`.
    static Buffer& start(options_overlay const& given = {}) {
        constexpr bool has_processor = processor_for<own_processor, typename Buffer::table_type>;
        static_assert(has_processor,
                      "start needs a processor, or the definition one of its own: a static member `process`");
        if constexpr (has_processor) {
            return start_with(given, own_processor{});
        } else {
            return instance();
        }
    }

    /// The same with the third argument of a buffer's constructor.
    template <typename Processor, typename Undelivered,
              typename = std::enable_if_t<!std::is_same_v<std::remove_cvref_t<Undelivered>, options_overlay>>>
    static Buffer& start(Processor&& process, Undelivered&& undelivered, options_overlay const& given = {}) {
        return start_with(given, std::forward<Processor>(process), std::forward<Undelivered>(undelivered));
    }

    /// The options that a start with `given` would have: those of further buffers of the same kind, such as
    /// `registry.start("tenant-a", event_queue::options_for(), processor)`. Throws `invalid_options` as `start` does.
    static options options_for(options_overlay const& given = {}) {
        static_assert(says_environment<Derived>,
                      "a definition says where else its options come from: static constexpr "
                      "std::string_view environment");
        return layered(given);
    }

    /// The buffer. Throws `std::logic_error`, which names the type, before its start and after its stop. Takes no lock.
    /// The reference stays good for ever: that of a buffer that was stopped is answered `stopped`, whatever was started
    /// since.
    static Buffer& instance() {
        // Acquires [definition].
        auto* const one = current_.load(std::memory_order_acquire);
        if (one == nullptr) [[unlikely]]
            throw std::logic_error(named("is not started: call start() before instance()"));
        return one->held;
    }

    /// Stops the buffer as `buffer::stop` does, at most for its `shutdown_timeout` or `within`; until then `instance`
    /// returns it, and from then on it can be started again. Not started, it does nothing and returns an empty report.
    /// Of several stops at once each waits, and each returns the same report. Throws `std::system_error` in a callback
    /// of the buffer; then nothing changed.
    static drain_report stop() { return stop_with(); }
    static drain_report stop(std::chrono::nanoseconds within) { return stop_with(within); }
    /// The same with a note for `partition_stop::note`.
    static drain_report stop(std::chrono::nanoseconds within, std::string note) {
        return stop_with(within, std::move(note));
    }

private:
    struct kept {
        template <typename... Arguments>
        explicit kept(Arguments&&... arguments) : held(std::forward<Arguments>(arguments)...) {}
        Buffer held;
        kept* next = nullptr;  ///< of those that stopped
    };

    /// The start that is running, of one at most.
    class claim {
    public:
        claim() {
            // Acquires [definition start]: what the start before published is seen.
            if (starting_.exchange(true, std::memory_order_acquire)) {
                throw std::logic_error(named("is being started already"));
            }
        }
        claim(claim const&) = delete;
        claim& operator=(claim const&) = delete;
        // Releases [definition start].
        ~claim() { starting_.store(false, std::memory_order_release); }
    };

    template <typename D>
    static constexpr bool says_environment = requires {
        std::string_view(D::environment);
    };

    /// Calls the static member `process`, with whatever it takes.
    struct own_processor {
        template <typename... Arguments, typename D = Derived>
            requires requires(Arguments&&... arguments) {
                D::process(std::forward<Arguments>(arguments)...);
            }
        decltype(auto) operator()(Arguments&&... arguments) const {
            return D::process(std::forward<Arguments>(arguments)...);
        }
    };

    template <typename... Callables>
    static Buffer& start_with(options_overlay const& given, Callables&&... callables) {
        static_assert(detail::is_buffer<Buffer>,
                      "a definition names a buffer: queue, hash_map, or a class that derives from tidefall::buffer");
        static_assert(
            says_environment<Derived>,
            "a definition says where else its options come from: static constexpr std::string_view environment "
            "= \"MYAPP_EVENTS\"; for variables such as MYAPP_EVENTS_PARTITIONS, or = "
            "tidefall::no_environment; for none");
        if constexpr (detail::is_buffer<Buffer> && says_environment<Derived>) {
            claim const mine;
            // Relaxed: only a start sets it, and this is the only one.
            if (current_.load(std::memory_order_relaxed) != nullptr) {
                throw std::logic_error(named("is started already: stop it first"));
            }
            auto* const one = new kept(layered(given), std::forward<Callables>(callables)...);
            // Releases [definition].
            current_.store(one, std::memory_order_release);
            return one->held;
        } else {
            return instance();
        }
    }

    /// The options that the buffer is to have. Each is judged by the last that named it.
    static options layered(options_overlay const& given) {
        options only;
        detail::apply(given, only);
        naming(in_start, [&] { detail::validate_ranges(only); });
        std::string_view const prefix = Derived::environment;
        auto const read = prefix.empty() ? options_overlay{} : detail::overlay_from_environment(prefix);
        options how = Derived::defaults();
        if (how.name == options().name) how.name = detail::name_of_type<Derived>;
        detail::apply(read, how);
        detail::apply(given, how);
        naming(in_defaults, [&] { detail::validate_ranges(how); });
        if (given.overflow || given.capacity) {
            naming(in_start, [&] { detail::validate_together(how); });
        } else if (read.overflow || read.capacity) {
            detail::validate_together(how, read, prefix);
        } else {
            naming(in_defaults, [&] { detail::validate_together(how); });
        }
        return how;
    }

    static constexpr std::string_view in_defaults = "in its defaults";
    static constexpr std::string_view in_start = "in the options given to its start";

    /// Runs `validation`; has what it throws say where the value came from.
    template <typename Validation>
    static void naming(std::string_view source, Validation validation) {
        try {
            validation();
        } catch (invalid_options const& error) {
            throw invalid_options(std::string(error.what()) + " (definition " + type_name() + ", " +
                                  std::string(source) + ")");
        }
    }

    static std::string type_name() { return std::string(detail::name_of_type<Derived>); }
    static std::string named(std::string_view what) {
        return "tidefall: definition " + type_name() + " " + std::string(what);
    }

    template <typename... Within>
    static drain_report stop_with(Within... within) {
        // Acquires [definition].
        auto* const one = current_.load(std::memory_order_acquire);
        if (one == nullptr) return {};
        auto const report = one->held.stop(std::move(within)...);
        auto* expected = one;
        // Relaxed: whoever takes it away has seen it. No other has its address, as none is ever destroyed.
        if (current_.compare_exchange_strong(expected, nullptr, std::memory_order_relaxed)) {
            static_cast<buffer<typename Buffer::table_type>&>(one->held).retire();
            keep(one);
        }
        return report;
    }

    /// Nobody follows the list: it keeps what it holds from being lost. Relaxed for that reason.
    static void keep(kept* one) noexcept {
        one->next = stopped_.load(std::memory_order_relaxed);
        while (!stopped_.compare_exchange_weak(one->next, one, std::memory_order_relaxed)) {
        }
    }

    // Nothing runs before main or after it: there is nothing to destroy here.
    static inline constinit detail::atomic<kept*> current_{nullptr};
    static inline constinit detail::atomic<kept*> stopped_{nullptr};
    static inline constinit detail::atomic<bool> starting_{false};
};

}  // namespace tidefall::inline v0
