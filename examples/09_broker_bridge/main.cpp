// SPDX-License-Identifier: MIT
//
// Lines into a broker of messages, for where one machine is outgrown: this program takes lines in memory from whoever
// has them on its machine, the brokers keep them, and consumers elsewhere do the work.
//
//     tail -F access.log | 09_broker_bridge --brokers kafka1:9092,kafka2:9092 --topic access
//     09_broker_bridge --brokers nats://127.0.0.1:4222 --listen 5140
//
// bridge.cpp has the part that is about tidefall.
#include "../support/block_workers.hpp"
#include "../support/descriptors.hpp"
#include "../support/format.hpp"
#include "../support/input.hpp"
#include "../support/output.hpp"
#include "../support/stop_request.hpp"
#include "bridge.hpp"
#include "broker.hpp"
#include "listener.hpp"
#include "settings.hpp"

#include <sysexits.h>

#include <chrono>
#include <cstdint>
#include <exception>
#include <iostream>
#include <sstream>
#include <string>
#include <string_view>

namespace broker_bridge {
namespace {

constexpr char const* program = "09_broker_bridge";

/// Returns how many lines were too long.
std::uint64_t read_lines(settings const& how, bridge& into, access_log::stop_request const& stop) {
    std::uint64_t too_long = 0;
    if (how.listen) {
        listener from(*how.listen);
        output::write("listening to 127.0.0.1:" + std::to_string(from.port()) + '\n');
        std::uint64_t number = 0;
        from.run(stop, [&](std::string_view line) { into.push(++number, line); });
    } else {
        access_log::input_file from("-", 0, stop);
        while (auto const lines = from.next()) {
            too_long += lines->too_long ? 1 : 0;
            access_log::for_each_line(*lines,
                                      [&](std::uint64_t number, std::string_view line) { into.push(number, line); });
        }
    }
    return too_long;
}

void report(bridge_counts const& counts, std::uint64_t too_long, settings const& how,
            std::chrono::duration<double> elapsed) {
    using access_log::grouped;
    std::ostringstream text;
    auto const line = [&](char const* name, std::uint64_t count, std::string const& more = "") {
        if (count > 0 || more.empty()) access_log::label(text, name) << grouped(count) << more << '\n';
    };
    line("lines", counts.lines);
    line("too long", too_long, ": they have more than 64 KiB");
    line("waited", counts.waited, " in " + how.spill + ", of an earlier run");
    line("confirmed", counts.confirmed);
    line("doubtful", counts.doubtful, ", which the brokers may have had before");
    line("kept", counts.kept, " in " + how.spill);
    line("lost", counts.lost, ": neither brokers nor spill file took them");
    line("lines/s", static_cast<std::uint64_t>(static_cast<double>(counts.lines) / elapsed.count()));
    output::write(text.str());
}

int run(settings const& how) {
    auto const began = std::chrono::steady_clock::now();
    access_log::stop_request stop;
    auto const brokers = how.brokers.starts_with("nats://") ? make_nats(how) : make_kafka(how);
    bridge into(how, *brokers, stop);
    auto const too_long = read_lines(how, into, stop);
    into.finish();
    auto const counts = into.counts();
    report(counts, too_long, how, std::chrono::steady_clock::now() - began);
    if (counts.lost > 0) return 1;
    if (stop.signal() != 0) return 128 + stop.signal();
    return counts.kept > 0 ? EX_TEMPFAIL : 0;
}

}  // namespace
}  // namespace broker_bridge

int main(int argc, char** argv) {
    using namespace broker_bridge;
    try {
        access_log::keep_standard_descriptors();
        output::let_closed_pipes_fail();
        settings how;
        if (auto const code = read_command_line(argc, argv, how)) return *code;
        return run(how);
    } catch (access_log::compressed_error const& error) {
        std::cerr << program << ": " << error.what() << ": " << error.command(program) << '\n';
    } catch (std::exception const& error) {
        std::cerr << program << ": " << error.what() << '\n';
    }
    return 1;
}
