"""Serve a system file for a moment and ask it one question through the official ``openai`` client.

python demo/ask.py out/demo/best.yaml
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from openai import OpenAI

QUESTION = "At what temperature in degrees Celsius does water boil at sea level?"


def main(system_file: str) -> None:
    """Start ``steelyard serve`` on a free port, ask, print the answer, stop it."""
    command = [str(Path(sys.executable).with_name("steelyard")), "serve", system_file, "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert server.stdout is not None
    try:
        line = next((line for line in server.stdout if "http://" in line), None)
        if line is None:
            sys.exit("the server did not start; run it yourself to see why: " + " ".join(command))
        address = "http://" + line.split("http://")[1].split()[0].rstrip("/").removesuffix("/v1")
        print(f"\nserved {system_file} at {address}/v1")
        print(f"  question: {QUESTION}\n  answer:   {ask(address)}")
    finally:
        server.terminate()
        server.wait(timeout=20)


def ask(address: str) -> str:
    """One chat completion, as any program written for the OpenAI API asks for it."""
    client = OpenAI(base_url=f"{address}/v1", api_key="not needed on loopback", max_retries=10)
    completion = client.chat.completions.create(
        model="default", messages=[{"role": "user", "content": QUESTION}], max_tokens=24
    )
    return (completion.choices[0].message.content or "").strip()


if __name__ == "__main__":
    main(sys.argv[1])
