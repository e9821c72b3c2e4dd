# SPDX-License-Identifier: MIT
#
# What Doxygen reads of a file. The text on top of a public header becomes the page of that header. The inline namespace,
# which users never write, and the specialisations of other libraries' templates behind it go: Doxygen cannot place them.
FNR == 1 && /^\/\/ SPDX/ && FILENAME !~ /\/detail\// { print "/// @file"; on_top = 1; next }
/^#pragma once/ { on_top = 0 }
on_top && /^\/\// { sub(/^\/\//, "///") }
behind { print ""; next }
/^}  \/\/ namespace tidefall/ { behind = 1 }
{ sub(/namespace tidefall::inline v0/, "namespace tidefall"); print }
