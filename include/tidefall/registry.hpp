// SPDX-License-Identifier: MIT
//
// Buffers by name, made and stopped while the program runs: one for each tenant, say.
//
//     tidefall::registry<tidefall::queue<event>> tenants;
//
//     tenants.start("tenant-a", {.processing_interval = 1s}, processor);
//     if (auto const events = tenants.find("tenant-a")) events->push(e);
//     tenants.stop("tenant-a");   // drains; the destructor does it with all
//
// For the one buffer of its kind in a program see definition.hpp.
#pragma once

#include <tidefall/buffer.hpp>
#include <tidefall/detail/base/fork.hpp>
#include <tidefall/detail/sync.hpp>
#include <tidefall/options.hpp>
#include <tidefall/results.hpp>
#include <tidefall/runtime.hpp>
#include <tidefall/string_hash.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

namespace tidefall::inline v0 {

/// Holds buffers of one type, each with a name of its own. An object like any other: there may be several, and they
/// know nothing of each other.
///
/// A name is taken from the beginning of its start to the end of its stop, so a buffer and its successor of the same
/// name never run side by side. It is found from the end of its start to the end of its stop. A buffer that was stopped
/// by other means keeps its name until the registry stops it too.
///
/// Its buffers share the threads of one runtime, which starts with the first buffer that needs it and ends with the
/// registry, or with the last of its buffers that somebody still holds. A buffer whose options name a runtime is served
/// by that one.
///
/// Thread safety: everything but construction and destruction may be called from several threads at once, also from
/// processors, `undelivered` and hooks. No lock of the registry is held while code of the user runs or while a buffer
/// starts or stops. In a forked child the registry of the parent is empty, and starts nothing.
template <typename Buffer>
class registry {
    static_assert(detail::is_buffer<Buffer>,
                  "a registry holds buffers: queue, hash_map, or a class that derives from tidefall::buffer");

public:
    using buffer_type = Buffer;

    /// An empty one. Its runtime has as many workers as a runtime has by default.
    registry() : registry(std::shared_ptr<runtime>()) {}

    /// The same with a runtime of these options. Throws `invalid_options`. Starts no thread.
    explicit registry(runtime_options how) : registry(std::shared_ptr<runtime>()) {
        detail::validate(how);
        content_->how = std::move(how);
    }

    /// Its buffers share this runtime. A null pointer is as if it were not given.
    explicit registry(std::shared_ptr<runtime> shared) : content_(std::make_unique<content>()) {
        content_->shared = std::move(shared);
    }

    registry(registry const&) = delete;
    registry& operator=(registry const&) = delete;

    /// Stops all, as `stop_all` does. In a callback of one of its buffers that one is closed and not waited for: the
    /// worker drains what is left.
    ~registry() {
        if (home_.left()) {  // what there is is the parent's, and may be locked for ever
            detail::leave_forever(std::move(content_));
            return;
        }
        auto const all = every();
        for (auto const& one : all) base(one).begin_stop(base(one).shutdown_timeout());
        for (auto const& one : all) {
            if (!base(one).inside_own_callback()) base(one).stop(never);
        }
    }

    /// Starts a buffer: `Buffer(how, process)`, or `Buffer(how, process, undelivered)`, with this name, whatever the
    /// options' name is. The buffer is the registry's and the caller's: it lives for as long as one of them holds it.
    ///
    /// Throws `std::invalid_argument` for a name that is taken, before anything else; of two starts of a name at once
    /// one throws. Throws what the constructor throws; then the name is free again. Throws `std::logic_error` in a
    /// forked child.
    template <typename Processor, typename... Undelivered>
    std::shared_ptr<Buffer> start(std::string_view name, options how, Processor&& process,
                                  Undelivered&&... undelivered) {
        static_assert(sizeof...(Undelivered) <= 1, "after the processor comes undelivered, or nothing");
        if (home_.left()) {
            throw std::logic_error("tidefall: a registry starts nothing in a forked child; make another one there");
        }
        how.name = name;
        reservation place(*content_, name);
        // What these find is found before the runtime starts.
        detail::validate(how);
        detail::require_callable(process, "the processor");
        (detail::require_callable(undelivered, "undelivered"), ...);
        if (!how.runtime) how.runtime = shared_runtime();
        auto started = std::make_shared<Buffer>(std::move(how), std::forward<Processor>(process),
                                                std::forward<Undelivered>(undelivered)...);
        place.fill(started);
        return started;
    }

    /// The buffer of that name, empty if there is none. Takes a lock for as long as it takes to look it up. Who writes
    /// often keeps what it returns.
    std::shared_ptr<Buffer> find(std::string_view name) const {
        if (home_.left()) return nullptr;
        detail::lock_guard const lock(content_->mutex);
        auto const at = content_->buffers.find(name);
        return at == content_->buffers.end() ? nullptr : at->second;
    }

    /// Stops the buffer of that name as `buffer::stop` does, at most for its `shutdown_timeout` or `within`, and lets
    /// go of it, whether it was complete or not. Its processor is destroyed too, even where somebody still holds the
    /// buffer, unless a call of it outlived the stop: the registry keeps such a buffer until the call has ended, or for
    /// its own destructor to wait for it. Where nothing of that name is found it does nothing, and returns
    /// an empty report: to stop twice is no error, nor from two threads, which both wait and get the same report.
    /// Throws `std::system_error` in a callback of that buffer; then nothing changed.
    drain_report stop(std::string_view name) {
        auto const one = find(name);
        return one ? stop_each({{std::string(name), one}}, std::nullopt) : drain_report{};
    }
    drain_report stop(std::string_view name, std::chrono::nanoseconds within, std::string const& note = {}) {
        auto const one = find(name);
        return one ? stop_each({{std::string(name), one}}, within, note) : drain_report{};
    }

    /// Stops every buffer that is found at the time of the call: closes all of them at once, then waits for all, each
    /// at most for its `shutdown_timeout`, or all for `within`, from the time of the call on. Returns the sum of their
    /// reports, complete if each of them is. A start that runs meanwhile is not waited for. Throws `std::system_error`
    /// in a callback of one of the buffers; then nothing changed.
    drain_report stop_all() { return stop_each(every(), std::nullopt); }
    drain_report stop_all(std::chrono::nanoseconds within, std::string const& note = {}) {
        return stop_each(every(), within, note);
    }

    /// The names that are found, sorted.
    std::vector<std::string> names() const {
        std::vector<std::string> all;
        for (auto& one : every()) all.push_back(std::move(one.name));
        std::sort(all.begin(), all.end());
        return all;
    }

    /// How many are found.
    std::size_t size() const { return every().size(); }

private:
    struct content {
        detail::mutex mutex;
        // Guarded by mutex.
        /// Without a buffer: the name of one that is being started.
        std::unordered_map<std::string, std::shared_ptr<Buffer>, string_hash, std::equal_to<>> buffers;
        std::vector<std::shared_ptr<Buffer>> with_calls;  ///< stopped, and a call of it runs all the same

        detail::mutex starting_runtime;
        std::shared_ptr<runtime> shared;  ///< guarded by starting_runtime
        runtime_options how = {};         ///< set by the constructor
    };

    /// A name that is taken for a buffer that is being started, and given back if it is not.
    class reservation {
    public:
        reservation(content& in, std::string_view name) : content_(in), name_(name) {
            std::string key(name);
            detail::lock_guard const lock(content_.mutex);
            auto const [place, is_new] = content_.buffers.try_emplace(std::move(key));
            if (!is_new) {
                throw std::invalid_argument("tidefall: the name \"" + name_ + "\" is taken in the registry" +
                                            (place->second ? "" : ": it is being started"));
            }
        }
        reservation(reservation const&) = delete;
        reservation& operator=(reservation const&) = delete;
        ~reservation() {
            if (filled_) return;
            detail::lock_guard const lock(content_.mutex);
            content_.buffers.erase(name_);
        }

        void fill(std::shared_ptr<Buffer> started) noexcept {
            detail::lock_guard const lock(content_.mutex);
            content_.buffers.find(name_)->second = std::move(started);
            filled_ = true;
        }

    private:
        content& content_;
        std::string const name_;
        bool filled_ = false;
    };

    /// The name is the registry's: a class that derives from a buffer may give that another one.
    struct found {
        std::string name;
        std::shared_ptr<Buffer> buffer;
    };
    using list = std::vector<found>;
    static constexpr auto never = (std::chrono::nanoseconds::max)();

    using base_type = tidefall::buffer<typename Buffer::table_type>;
    static base_type& base_of(Buffer& one) noexcept { return one; }
    static base_type& base(found const& one) noexcept { return *one.buffer; }

    std::shared_ptr<runtime> shared_runtime() const {
        detail::lock_guard const lock(content_->starting_runtime);
        if (!content_->shared) content_->shared = make_runtime(content_->how);
        return content_->shared;
    }

    /// Those that are found.
    list every() const {
        list all;
        if (home_.left()) return all;
        detail::lock_guard const lock(content_->mutex);
        all.reserve(content_->buffers.size());
        for (auto const& [name, one] : content_->buffers) {
            if (one) all.push_back({name, one});
        }
        return all;
    }

    drain_report stop_each(list const& all, std::optional<std::chrono::nanoseconds> within,
                           std::string const& note = {}) {
        for (auto const& one : all) base(one).require_outside("stop");
        for (auto const& one : all) base(one).note_stop(note);
        for (auto const& one : all) base(one).begin_stop(within.value_or(base(one).shutdown_timeout()));
        drain_report sum;
        for (auto const& one : all) {
            // The deadline is set already, and is not put off.
            auto const report = base(one).stop(never);
            sum.processed += report.processed;
            sum.failed += report.failed;
            sum.dropped += report.dropped;
            sum.abandoned += report.abandoned;
            sum.complete = sum.complete && report.complete;
            forget(one);
        }
        return sum;
    }

    /// Frees the name, unless another stop did and another buffer has it by now, and what the buffer needs no more:
    /// others may hold it for long.
    void forget(found const& stopped) {
        std::vector<std::shared_ptr<Buffer>> ended;  // let go of after the lock
        bool const has_calls = base(stopped).outlived_by_calls();
        {
            detail::lock_guard const lock(content_->mutex);
            auto const at = content_->buffers.find(stopped.name);
            if (at == content_->buffers.end() || at->second != stopped.buffer) return;
            auto& kept = content_->with_calls;
            auto const still = std::partition(kept.begin(), kept.end(),
                                              [](auto const& one) { return base_of(*one).outlived_by_calls(); });
            ended.assign(std::make_move_iterator(still), std::make_move_iterator(kept.end()));
            kept.erase(still, kept.end());
            if (has_calls) kept.push_back(stopped.buffer);
            content_->buffers.erase(at);
        }
        if (!has_calls) base(stopped).retire();
    }

    // Invariant: content_ never changes.
    std::unique_ptr<content> content_;
    detail::home_process const home_;
};

}  // namespace tidefall::inline v0
