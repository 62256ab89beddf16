"""The outside calendars: each module speaks one platform's HTTP and hands out the words of `model`."""
