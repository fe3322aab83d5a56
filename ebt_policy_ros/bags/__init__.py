"""rosbag2 bags (MCAP and sqlite3) <-> episodes, with and without ROS 2 installed."""

from ebt_policy_ros.bags.episode import Episode
from ebt_policy_ros.bags.write import write_episode

__all__ = ["Episode", "write_episode"]
