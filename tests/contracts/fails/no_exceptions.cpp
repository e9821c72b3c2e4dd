// must fail with -fno-exceptions: tidefall needs exceptions: build without -fno-exceptions
#include <tidefall/queue.hpp>
