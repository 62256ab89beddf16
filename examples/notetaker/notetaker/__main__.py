"""`python -m notetaker`."""

import logging
import os
import sys

import uvicorn

from notetaker.app import create_app
from notetaker.settings import WrongSetting, read_settings


def main() -> None:
    try:
        settings = read_settings(os.environ)
    except WrongSetting as wrong:
        sys.exit(f"notetaker: {wrong}")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    uvicorn.run(create_app(settings), host=settings.host, port=settings.port, log_level="warning")


main()
