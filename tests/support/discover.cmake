# SPDX-License-Identifier: MIT
# Writes OUT: one add_test() for each case that the test executable EXE lists.
execute_process(COMMAND ${CMAKE_COMMAND} -E env TEST_LIST=1 ASAN_OPTIONS=detect_leaks=0 ${EXE}
  OUTPUT_VARIABLE cases RESULT_VARIABLE result OUTPUT_STRIP_TRAILING_WHITESPACE)
if(NOT result EQUAL 0 OR cases STREQUAL "")
  message(FATAL_ERROR "${EXE} does not list its cases (${result})")
endif()
string(REPLACE "\n" ";" cases "${cases}")
list(REMOVE_DUPLICATES cases)
set(text "")
foreach(case IN LISTS cases)
  string(REGEX REPLACE "^test_" "" short "${case}")
  set(name "${PREFIX}.${short}")
  string(APPEND text "add_test([==[${name}]==] [==[${EXE}]==])\n"
    "set_tests_properties([==[${name}]==] PROPERTIES TIMEOUT ${TIMEOUT} LABELS ${KIND}"
    " ENVIRONMENT [==[TEST_CASE=${case};${ENV}]==])\n")
endforeach()
file(WRITE ${OUT} "${text}")
