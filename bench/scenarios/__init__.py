"""One module for each question that is put to the systems under test; each has `async def run(lab) -> Findings`."""
