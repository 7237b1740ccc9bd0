-- What customers want to reach with the product, in their own words and figures, and how far they are.
with

goals as (

    select * from {{ ref('stg_success_plans__goals') }}

),

customers as (

    select * from {{ ref('int_customers__identified') }}

),

subscribed as (

    select * from {{ ref('int_customers__subscribed') }}

),

final as (

    select
        goals.goal_id,
        coalesce(by_workspace.customer_id, by_company.customer_id) as customer_id,
        goals.metric,
        cast(goals.baseline_value as decimal(18, 2)) as baseline_value,
        cast(goals.target_value as decimal(18, 2)) as target_value,
        cast(goals.current_value as decimal(18, 2)) as current_value,
        -- goals may aim down (hours spent) as well as up
        case when goals.target_value <> goals.baseline_value and goals.current_value is not null then {{ rounded(
            'greatest(0, least(1, ' ~ ratio(
                'goals.current_value - goals.baseline_value',
                'goals.target_value - goals.baseline_value'
            ) ~ '))', 5, 4
        ) }} end as reached_share,
        goals.status,
        goals.due_on,
        goals.achieved_at,
        coalesce(goals.achieved_at is null and goals.due_on < {{ as_of_date() }}, false) as is_overdue,
        goals.created_at
    from goals
    left join customers as by_workspace
        on goals.workspace_id = by_workspace.workspace_id
    left join customers as by_company
        on goals.hubspot_company_id = by_company.hubspot_company_id
    inner join subscribed
        on coalesce(by_workspace.customer_id, by_company.customer_id) = subscribed.customer_id

)

select * from final
