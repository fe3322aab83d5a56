"""rosbag2 bags (MCAP and sqlite3) <-> episodes, with and without ROS 2 installed."""

from ebt_policy_ros.bags.episode import Episode
from ebt_policy_ros.bags.read import Bag, Recorded, find_bags
from ebt_policy_ros.bags.topics import ActionTopic, BagTopics, CutSettings
from ebt_policy_ros.bags.write import write_episode

__all__ = ["ActionTopic", "Bag", "BagTopics", "CutSettings", "Episode", "Recorded", "find_bags", "write_episode"]
