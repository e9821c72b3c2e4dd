// SPDX-License-Identifier: MIT
//
// Where the lines come from: files, standard input, or a log that is made up.
#pragma once

#include "input.hpp"
#include "sample_log.hpp"
#include "stop_request.hpp"

#include <cstddef>
#include <cstdint>
#include <exception>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace access_log {

struct source_settings {
    std::vector<std::string> inputs = {};  ///< none: a sample log is made up
    std::uint64_t sample_lines = 5'000;
    std::uint64_t seed = 1;
    std::string output = {};  ///< where a sample log is written that is not read
};

[[nodiscard]] inline std::vector<std::string> names_of(source_settings const& from) {
    return from.inputs.empty() ? std::vector<std::string>{"sample log"} : from.inputs;
}

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
    std::ofstream file;
    if (how.output != "-") file.open(how.output, std::ios::binary);
    std::ostream& out = how.output == "-" ? std::cout : file;
    sample_log log(how.sample_lines, how.seed, stop);
    while (auto const lines = log.next()) {
        if (!(out << lines->text)) break;
    }
    if (!out.flush()) throw std::runtime_error("cannot write " + how.output);
    return stop.signal() == 0 ? 0 : 128 + stop.signal();
}

}  // namespace access_log
