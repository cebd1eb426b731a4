"""Who answers: requests from a broker are decoded, written down, dispatched and answered. It knows no client's code."""
