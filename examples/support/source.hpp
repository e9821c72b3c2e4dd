// SPDX-License-Identifier: MIT
//
// Where the lines come from: files, standard input, or a log that is made up.
#pragma once

#include "input.hpp"
#include "output.hpp"
#include "sample_log.hpp"
#include "source_settings.hpp"
#include "stop_request.hpp"

#include <cstddef>
#include <exception>
#include <utility>

namespace access_log {

namespace detail {

template <typename Source, typename Sink>
void feed_all(Source&& source, Sink& into) {
    while (auto lines = source.next()) {
        if (!into.feed(std::move(*lines))) return;
    }
}

template <typename Sink>
void feed_inputs(source_settings const& from, Sink& into, stop_request const& stop) {
    if (from.inputs.empty()) return feed_all(sample_log(from.sample_lines, from.seed, stop), into);
    for (std::size_t i = 0; i < from.inputs.size() && !stop.asked(); ++i) {
        feed_all(input_file(from.inputs[i], i, stop), into);
    }
}

}  // namespace detail

/// Feeds all lines, up to a request to stop, and finishes. What was read before an error is stored as well.
template <typename Sink>
void feed_and_finish(source_settings const& from, Sink& into, stop_request const& stop) {
    std::exception_ptr error;
    try {
        detail::feed_inputs(from, into, stop);
    } catch (...) {
        error = std::current_exception();
    }
    into.finish();
    if (error) std::rethrow_exception(error);
}

/// Writes a sample log to `output`; an exit code.
inline int write_sample(source_settings const& how) {
    stop_request const stop;
    output::file out(how.output);
    sample_log log(how.sample_lines, how.seed, stop);
    while (auto const lines = log.next()) out.write(lines->text);
    out.close();
    return stop.signal() == 0 ? 0 : 128 + stop.signal();
}

}  // namespace access_log
