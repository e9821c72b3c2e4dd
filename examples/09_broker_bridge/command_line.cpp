// SPDX-License-Identifier: MIT
#include "../support/parse.hpp"
#include "settings.hpp"

#include <CLI/CLI.hpp>

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace broker_bridge {
namespace {

constexpr char const* about =
    "Sends lines, from standard input or from whoever connects by TCP, to Kafka or NATS JetStream, each as a message.";

constexpr char const* notes =
    "Every message has an id, in its header: Nats-Msg-Id, by which JetStream leaves out what it has, or, for Kafka, "
    "id.\n"
    "It is what --id says, a dash and the number of the line. Without --id it begins in another way in every run.\n"
    "What no broker takes for so many attempts is in the spill file, and is sent when one takes something\n"
    "again, in this run or the next.\n"
    "Ctrl-C ends the reading; what was read until then is sent, or in the spill file.\n"
    "Exit codes: 0: the brokers have every line; 75: some are in the spill file, call it again; 1 for an error;\n"
    "2 for a wrong command line; 130 after Ctrl-C (143 after SIGTERM).";

void add_count(CLI::App& to, char const* name, std::size_t& count, std::size_t least, std::size_t most,
               char const* help) {
    to.add_option(name, count, help)->type_name("N")->capture_default_str()->check(CLI::Range(least, most));
}

}  // namespace

std::optional<int> read_command_line(int argc, char** argv, settings& into) {
    CLI::App app(about, "09_broker_bridge");
    app.footer(notes);
    app.add_option("-b,--brokers", into.brokers, "host:port,... of Kafka, or nats://host:port,...")
        ->type_name("LIST")
        ->required();
    app.add_option("-t,--topic", into.topic, "The topic; the stream and its subject in JetStream, made where missing")
        ->type_name("NAME")
        ->capture_default_str();
    app.add_option("-X", into.properties, "A property of librdkafka, such as -X sasl.username me; any number of them")
        ->type_name("NAME VALUE");
    app.add_option("-l,--listen", into.listen, "Reads what comes by TCP to this port of 127.0.0.1; 0: any that is free")
        ->type_name("PORT");
    app.add_option("--id", into.id, "What the ids begin with: the same for the same lines, so that they are the same")
        ->type_name("TEXT");
    add_count(app, "--key", into.key, 0, 1'000, "Which word of a line is its key; 0: none");
    add_count(app, "--partitions", into.partitions, 1, 64, "Partitions of the queue");
    add_count(app, "--batch", into.batch, 1, 100'000, "Lines that are handed to the client together at most");
    add_count(app, "--in-flight", into.in_flight, 1, 1'024, "Batches of a partition that may be out at once");
    add_count(app, "--attempts", into.attempts, 1, 1'000, "Attempts of a batch before it goes to the spill file");
    app.add_option_function<int>(
           "--timeout", [&into](int const& count) { into.timeout = std::chrono::seconds(count); },
           "Seconds that an attempt may take, and the end of the program")
        ->type_name("S")
        ->default_str(std::to_string(into.timeout.count()))
        ->check(CLI::Range(1, 3'600));
    app.add_option("--spill", into.spill, "The spill file")->type_name("FILE")->capture_default_str();
    app.add_flag("-v,--verbose", into.verbose, "Write what the queue does to standard error");
    return access_log::parse(app, argc, argv);
}

}  // namespace broker_bridge
