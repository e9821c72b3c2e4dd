# SPDX-License-Identifier: MIT
#
# What Doxygen reads of a file. The text on top of a public header becomes the page of that header; the inline namespace,
# which users never write and Doxygen cannot read, goes.
FNR == 1 && /^\/\/ SPDX/ && FILENAME !~ /\/detail\// { print "/// @file"; on_top = 1; next }
/^#pragma once/ { on_top = 0 }
on_top && /^\/\// { sub(/^\/\//, "///") }
{ sub(/namespace tidefall::inline v0/, "namespace tidefall"); print }
