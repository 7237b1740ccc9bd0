{#
    Whether a customer is held out by an experiment: the hash of its salt, version and customer falls within its share.
    Of customers, never of single people, and the same in every build.

    experiment   relation with a row of seeds/rules/experiments.csv, or none
    candidate    relation with customer_id and occurred_at
#}
{% macro is_drawn(experiment, candidate) -%}
    coalesce(
                {{ experiment }}.starts_on <= cast({{ candidate }}.occurred_at as date)
                and {{ hash_share(dbt.concat([
                    experiment ~ '.salt',
                    "':'",
                    'cast(' ~ experiment ~ '.version as ' ~ dbt.type_string() ~ ')',
                    "':'",
                    candidate ~ '.customer_id',
                ])) }} < {{ experiment }}.holdout_share,
                false
            )
{%- endmacro %}
