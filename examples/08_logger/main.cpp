// SPDX-License-Identifier: MIT
//
// A logger whose callers do not wait for a disk: spdlog, with a sink that has a tidefall queue in it.
//
//     08_logger                                  logs 100,000 lines from 4 threads, and counts what is in the file
//     08_logger --overflow drop_oldest app.log   a thread that finds the queue full goes on; what is lost is counted
//     08_logger --endings                        exit, abort, kill -9 and others in the middle: what each loses
//     08_logger --compare                        nanoseconds a line, beside spdlog's asynchronous and direct loggers
//
// queue_sink.hpp is what to copy into a program of one's own.
#include "../support/descriptors.hpp"
#include "../support/format.hpp"
#include "../support/output.hpp"
#include "../support/stop_request.hpp"
#include "log_file.hpp"
#include "queue_sink.hpp"
#include "settings.hpp"

#include <spdlog/logger.h>

#include <csignal>
#include <cstdint>
#include <exception>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace logger_example {
namespace {

int log_lines(settings const& how) {
    access_log::stop_request stop;
    log_file file(how.file);
    auto const sink = std::make_shared<queue_sink>(how.sink, [&](std::string_view text) { file.append(text); });
    spdlog::logger log("server", sink);
    log.flush_on(spdlog::level::err);

    std::vector<std::thread> threads;
    for (std::size_t thread = 0; thread < how.threads; ++thread) {
        auto const share = how.lines / how.threads + (thread < how.lines % how.threads ? 1 : 0);
        threads.emplace_back([&, thread, share] {
            for (std::uint64_t line = 0; line < share && !stop.asked(); ++line) {
                log.info("line {} of thread {}: GET /index.html took {} us", line, thread, line % 977);
            }
        });
    }
    for (auto& thread : threads) thread.join();
    auto const logged = sink->stats();
    output::write(access_log::counted(logged.accepted + logged.refused, "line", "lines") + " logged\n");
    sink->close();
    auto const all = sink->stats();
    output::write(how.file + " has " + access_log::grouped(all.processed) + " by " +
                  access_log::counted(all.ticks, "write", "writes") + ", " + access_log::grouped(sink->lost()) +
                  " are lost\n");
    if (stop.signal() != 0) return 128 + stop.signal();
    return sink->lost() == 0 ? 0 : 1;
}

int run(int argc, char** argv) {
    settings how;
    if (auto const code = read_command_line(argc, argv, how)) return *code;
    if (how.endings) return show_endings(how);
    if (how.compare) return compare(how);
    return log_lines(how);
}

}  // namespace
}  // namespace logger_example

int main(int argc, char** argv) {
    try {
        access_log::keep_standard_descriptors();
        output::let_closed_pipes_fail();
        std::signal(SIGXFSZ, SIG_IGN);  // a file that has reached its limit is an error, like a disk that is full
        return logger_example::run(argc, argv);
    } catch (std::exception const& error) {
        std::cerr << "08_logger: " << error.what() << '\n';
        return 1;
    }
}
