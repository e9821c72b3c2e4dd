// SPDX-License-Identifier: MIT
//
// A spill file that `with_spill` (decorators.hpp) and the `undelivered` of a buffer share, and that empties itself once
// the sink takes values again:
//
//     auto spill = tidefall::open_spill<event>("events.spill", encode, decode);
//     tidefall::queue<event> events(options, tidefall::with_spill(process, spill), spill->undelivered());
//
// spill.hpp has the format.
#pragma once

#include <tidefall/detail/base/user_code.hpp>
#include <tidefall/detail/decorators/inner_call.hpp>
#include <tidefall/detail/decorators/spill_file.hpp>
#include <tidefall/detail/decorators/spilling.hpp>
#include <tidefall/detail/drain/batch_parts.hpp>
#include <tidefall/detail/drain/call_services.hpp>
#include <tidefall/detail/drain/processor.hpp>
#include <tidefall/results.hpp>
#include <tidefall/spill.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace tidefall::inline v0 {
namespace detail {

template <typename V>
class spill_share;

}  // namespace detail

/// A spill file for values `V`, shared by those who write to it: `with_spill`, and the `undelivered` of one buffer or
/// several. Got from `open_spill`; the file is closed with the last of them.
///
/// Thread safety: everything may be called from several threads at once. Whatever touches the file blocks on it.
template <typename V>
class spill : public std::enable_shared_from_this<spill<V>> {
public:
    spill(spill const&) = delete;
    spill& operator=(spill const&) = delete;

    /// An `undelivered` for a buffer, which writes what it receives. Values that cannot be written are lost: the call
    /// throws `spill_error`, which counts in `buffer_stats::hook_failures`, and the first is told on standard error.
    [[nodiscard]] auto undelivered() {
        return [self = this->shared_from_this()](std::span<V> values, failure const& why) { self->keep(values, why); };
    }

    /// Offers what the file holds to `f`, a processor of any form that takes batches, `at_once` values at most in each,
    /// on this thread. A record leaves the file when its batch was taken; what a `batch_result` does not take stays.
    /// Returns how many left it so. Ends where a batch was not taken at all; what `f` throws passes. Does nothing while
    /// a batch is offered elsewhere. Throws `std::logic_error` for a spill without a `decode`, `std::system_error`
    /// where the file cannot be read.
    template <typename F>
    std::size_t replay(F&& f, std::size_t at_once = 512) {
        static_assert(detail::takes_const_batch<std::remove_reference_t<F>, V>,
                      "replay: the processor must be callable as f(std::span<V const>), also with a batch_info const& "
                      "and a std::stop_token");
        if (!decode_)
            throw std::logic_error("tidefall: spill file " + path().string() + " was opened without a decode");
        std::size_t total = 0;
        for (auto left = stats().records; left > 0;) {
            auto const most =
                static_cast<std::size_t>((std::min<std::uint64_t>)(left, (std::max)(at_once, std::size_t{1})));
            auto const one = offer(
                most,
                [&](std::span<V const> batch) {
                    return detail::call_inner<std::remove_reference_t<F>, V>(f, batch, batch_info{}, {});
                },
                nullptr);
            total += one.taken;
            if (one.records == 0 || (one.values > 0 && one.taken == 0)) break;
            left -= one.records;
        }
        return total;
    }

    [[nodiscard]] spill_stats stats() const noexcept { return file_.stats(); }
    [[nodiscard]] std::filesystem::path const& path() const noexcept { return file_.path(); }

private:
    template <typename T, typename Encode, typename Decode>
    friend std::shared_ptr<spill<T>> open_spill(std::filesystem::path const&, Encode&&, Decode&&, spill_options);
    template <typename T, typename Encode>
    friend std::shared_ptr<spill<T>> open_spill(std::filesystem::path const&, Encode&&, spill_options);
    friend class detail::spill_share<V>;

    /// What was offered together.
    struct offered {
        std::size_t records = 0;
        std::size_t values = 0;  ///< that could be made of them
        std::size_t taken = 0;
    };

    spill(std::filesystem::path const& path, std::function<void(V const&, std::string&, detail::spill_records&)> encode,
          std::function<V(std::string_view)> decode, spill_options&& how)
        : file_(path, std::move(how)), encode_(std::move(encode)), decode_(std::move(decode)) {}

    void keep(std::span<V> values, failure const& why) {
        // What makes room does so on a writer's thread.
        auto const sync = why.reason == failure_reason::overflow ? detail::spill_sync::no : detail::spill_sync::yes;
        auto const fault = detail::thrown_by([&] {
            detail::write_spill(file_, values.size(), why.error, sync, [&](detail::spill_records& to) {
                std::string room;
                for (V const& value : values) encode_(value, room, to);
            });
        });
        if (fault) {
            if (!was_refused_before(why.error)) file_.count_refused(values.size());
            say_once(lost_said_, detail::message_of(fault), "They are lost; this line stands for all that follow.");
            std::rethrow_exception(fault);
        }
        if (why.news != nullptr) why.news->spilled(values.size(), why.error);
        file_.tell_spilled(values.size(), why.error);
    }

    /// `with_spill` has tried, and counted them.
    [[nodiscard]] bool was_refused_before(std::exception_ptr const& error) const {
        try {
            if (error) std::rethrow_exception(error);
        } catch (spill_error const&) {
            return true;
        } catch (...) {
        }
        return false;
    }

    /// Offers the records of the front, so many at most. What `deliver` throws passes, and all stay.
    template <typename Deliver>
    offered offer(std::size_t most, Deliver&& deliver, detail::outcome_news* news) {
        using of_value = detail::batch_verdict::of_value;
        auto claim = file_.take_front(most);
        if (!claim) return {};
        std::vector<V> values;
        std::vector<std::string> good;
        std::vector<std::string> bad;
        std::exception_ptr fault;
        for (auto& payload : claim->payloads) {
            auto const thrown = detail::thrown_by([&] { values.push_back(decode_(payload)); });
            (thrown ? bad : good).push_back(std::move(payload));
            if (thrown) fault = thrown;
        }
        offered result{.records = claim->payloads.size(), .values = values.size()};
        batch_result said;
        if (!values.empty()) said = deliver(std::span<V const>(values));
        detail::batch_verdict const verdict(said, values.size());
        auto const refused = verdict.count(of_value::refused);
        result.taken = values.size() - verdict.count(of_value::rejected) - refused;
        // A sink that is away takes nothing. One that refuses some shall not refuse them before all others for ever.
        bool const is_all = result.records == file_.records();
        if (result.values > 0 && result.taken == 0 && (refused == 0 || is_all)) return result;
        detail::spill_records kept;
        for (std::size_t i = 0; i < verdict.size(); ++i) {
            if (verdict[i] != of_value::taken) kept.add(good[i]);
        }
        auto count = result.values - result.taken;
        if (!bad.empty() && !set_aside(bad, fault)) {
            for (auto const& one : bad) kept.add(one);
            count += bad.size();
        }
        if (file_.remove(std::move(*claim), kept, count, result.taken)) return {};  // they come once more
        if (news != nullptr && result.taken > 0) news->replayed(result.taken);
        return result;
    }

    /// Records that no value can be made of go to a file of their own. False where they cannot.
    bool set_aside(std::vector<std::string> const& payloads, std::exception_ptr const& fault) {
        auto aside = path();
        aside += ".undecodable";
        auto const error = detail::thrown_by([&] {
            if (!aside_) aside_.emplace(aside, spill_options{.sync = file_.syncs()});
            detail::spill_records all;
            for (auto const& one : payloads) all.add(one);
            if (auto const reason = aside_->append(all, payloads.size(), detail::spill_sync::yes)) {
                throw spill_error(aside, "cannot be written", reason);
            }
        });
        if (error) return false;
        file_.count_undecodable(payloads.size());
        say_once(aside_said_, "decode threw: " + detail::message_of(fault),
                 "Records of " + path().string() + " that it throws on are set aside in " + aside.string() + ".");
        return true;
    }

    static void say_once(detail::atomic<bool>& said, std::string const& what, std::string const& more) {
        // Relaxed: one of those who come is the first.
        if (said.exchange(true, std::memory_order_relaxed)) return;
        std::fprintf(stderr, "tidefall: %s. %s\n", what.c_str(), more.c_str());
    }

    detail::spill_file file_;
    std::function<void(V const&, std::string&, detail::spill_records&)> const encode_;
    std::function<V(std::string_view)> const decode_;
    std::optional<detail::spill_file> aside_;  ///< touched by the one who has records of the front in his hands
    detail::atomic<bool> lost_said_{false};
    detail::atomic<bool> aside_said_{false};
};

namespace detail {

/// A spill that is shared, as `with_spill` uses it.
template <typename V>
class spill_share {
public:
    template <typename T>
    static constexpr bool encodes = std::is_same_v<T, V>;

    explicit spill_share(std::shared_ptr<spill<V>> one) noexcept : spill_(std::move(one)) {}

    [[nodiscard]] spill_file& file() const noexcept { return spill_->file_; }
    void encode(V const& value, std::string& room, spill_records& to) { spill_->encode_(value, room, to); }

    [[nodiscard]] bool goes_back() const noexcept { return spill_->decode_ && spill_->file_.records() > 0; }
    template <typename Deliver>
    void offer(std::size_t most, Deliver&& deliver, outcome_news* news) {
        spill_->offer(most, deliver, news);
    }

private:
    std::shared_ptr<spill<V>> spill_;
};

template <typename V, typename Encode>
std::function<void(V const&, std::string&, spill_records&)> erase_encoding(Encode&& encode) {
    using callable = std::decay_t<Encode>;
    static_assert(std::is_constructible_v<callable, Encode>,
                  "open_spill: the encoding cannot be copied: give a move-only callable with std::move");
    static_assert(encode_appends<callable, V> || encode_returns<callable, V>,
                  "open_spill: the encoding must be callable as encode(V const&, std::string& to), or as "
                  "encode(V const&) that returns a std::string");
    require_callable(encode, "open_spill's encoding");
    return [its = std::make_shared<callable>(std::forward<Encode>(encode))](
               V const& value, std::string& room, spill_records& to) { encode_record(*its, value, room, to); };
}

}  // namespace detail

/// Opens the file at `path` for what a buffer of values `V` does not deliver, or makes it. `decode` gives a value of a
/// record, and what the file holds, of this run or an earlier one, goes back through the processor of `with_spill` by
/// itself: after each batch that went through, one batch of the file follows, of as many values at most, or 64. It is a
/// call of its own, on the same worker, with a `processing_timeout` of its own; the batch before it has its outcome by
/// then. Its `batch_info::drain` is 0. A record leaves the file when its batch was taken: a crash in between delivers
/// some of them twice, and loses none. Whatever else the processor does with them, they stay, those behind the others
/// that it refuses.
///
/// A record that `decode` throws on is set aside, in a spill file with ".undecodable" behind the name, and the first is
/// told on standard error. Without a `decode` nothing goes back by itself: `set_aside_spill` and `read_spill` do it at
/// the next start.
///
/// `encode` makes a record of a value, in one of two forms: `encode(V const&, std::string& to)`, where `to` is empty,
/// or `encode(V const&)`, which returns what converts to `std::string_view`. Any bytes will do, none too. It is called
/// for several partitions at once, under no lock; `decode` by one thread at a time.
///
/// The file is made with mode 0600, and what a crash tore at its end is cut off, in time that is linear in its size.
/// Throws `spill_error` where that is not possible, the file is in use, in this process or another (where the system
/// has flock), is a symbolic link, or is no spill file, and `std::invalid_argument` for an empty callable. In a child
/// that is forked off meanwhile it stays the parent's: nothing is spilled there, and the parent's end does not wait for
/// the child's.
template <typename V, typename Encode, typename Decode>
std::shared_ptr<spill<V>> open_spill(std::filesystem::path const& path, Encode&& encode, Decode&& decode,
                                     spill_options how) {
    using callable = std::decay_t<Decode>;
    static_assert(std::is_constructible_v<callable, Decode>,
                  "open_spill: the decoding cannot be copied: give a move-only callable with std::move");
    static_assert(std::is_invocable_r_v<V, callable&, std::string_view>,
                  "open_spill: the decoding must be callable as decode(std::string_view), and return a V");
    detail::require_callable(decode, "open_spill's decoding");
    auto erased = [its = std::make_shared<callable>(std::forward<Decode>(decode))](std::string_view record) -> V {
        return std::invoke(*its, record);
    };
    return std::shared_ptr<spill<V>>(
        new spill<V>(path, detail::erase_encoding<V>(std::forward<Encode>(encode)), std::move(erased), std::move(how)));
}
/// The same with the default options.
template <typename V, typename Encode, typename Decode>
    requires(!std::is_same_v<std::decay_t<Decode>, spill_options>)
std::shared_ptr<spill<V>> open_spill(std::filesystem::path const& path, Encode&& encode, Decode&& decode) {
    return open_spill<V>(path, std::forward<Encode>(encode), std::forward<Decode>(decode), spill_options{});
}
/// The same without a way back.
template <typename V, typename Encode>
std::shared_ptr<spill<V>> open_spill(std::filesystem::path const& path, Encode&& encode, spill_options how = {}) {
    return std::shared_ptr<spill<V>>(
        new spill<V>(path, detail::erase_encoding<V>(std::forward<Encode>(encode)), nullptr, std::move(how)));
}

}  // namespace tidefall::inline v0
