-- What each product user last said of themselves, and the customer whose workspace they last joined.
with

identifies as (

    select * from {{ ref('stg_segment__identifies') }}

),

groups as (

    select * from {{ ref('stg_segment__groups') }}

),

customers as (

    select * from {{ ref('int_customers__identified') }}

),

ranked_identifies as (

    select
        identifies.*,
        row_number() over (
            partition by user_id
            order by occurred_at desc, identify_id desc
        ) as recency
    from identifies
    where
        user_id is not null
        and email is not null

),

ranked_groups as (

    select
        groups.*,
        row_number() over (
            partition by user_id
            order by occurred_at desc, group_call_id desc
        ) as recency
    from groups
    where user_id is not null

),

first_seen as (

    select
        user_id,
        min(occurred_at) as first_seen_at
    from identifies
    group by user_id

),

final as (

    select
        ranked_identifies.user_id,
        {{ hashed_id(["'contact'", 'ranked_identifies.email']) }} as contact_id,
        customers.customer_id,
        ranked_identifies.email,
        ranked_identifies.full_name,
        ranked_identifies.job_title,
        ranked_identifies.product_role,
        ranked_identifies.locale,
        ranked_identifies.time_zone,
        first_seen.first_seen_at,
        ranked_identifies.occurred_at as last_identified_at
    from ranked_identifies
    inner join first_seen
        on ranked_identifies.user_id = first_seen.user_id
    left join ranked_groups
        on
            ranked_identifies.user_id = ranked_groups.user_id
            and ranked_groups.recency = 1
    left join customers
        on ranked_groups.workspace_id = customers.workspace_id
    where ranked_identifies.recency = 1

)

select * from final
