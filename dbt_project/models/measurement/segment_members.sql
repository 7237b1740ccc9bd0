-- Who is in each segment and why, in one table: today, and on the last day built before, with which sizes compare it.
-- Its key and its groups are read from its meta.sync. A day is not written again once a later one stands.
{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='as_of_date',
    full_refresh=false,
    on_schema_change='append_new_columns',
    post_hook="{{ keep_two_days(this) }}",
) }}

with

{% for segment in var('segments') %}
{{ segment }} as (

    select * from {{ ref('seg_' ~ segment) }}

),

{% endfor %}
contacts as (

    select * from {{ ref('contacts') }}

),

members as (

    {% for segment in var('segments') %}
    {% set sync = graph.nodes['model.customer_success.seg_' ~ segment].config.meta.sync if graph else {'key': 'contact_id'} %}
    select
        '{{ segment }}' as segment_name,
        {{ sync.group_key or "''" }} as segment_group,
        {{ sync.key }} as member_id,
        '{{ sync.object or "contact" }}' as member_kind,
        customer_id,
        reason
    from {{ segment }}
    {% if not loop.last %}

    union all

    {% endif %}
    {% endfor %}

),

{{ members_of_the_day('segment_name', 'segment_group') }}

select * from final
