-- What our own people did or planned with a customer, in the CRM: calls, meetings and tasks, with each contact named in
-- them; with none named, the customer alone.
with

acts as (

    select *
    from {{ sources_union(
        {'hubspot': 'stg_hubspot__engagements', 'salesforce': 'stg_salesforce__activities'},
        {
            'engagement_id': dbt.type_string(),
            'engagement_type': dbt.type_string(),
            'owner_id': dbt.type_string(),
            'title': dbt.type_string(),
            'outcome': dbt.type_string(),
            'task_status': dbt.type_string(),
            'is_completed': 'boolean',
            'due_at': dbt.type_timestamp(),
            'occurred_at': dbt.type_timestamp(),
        },
        {
            'salesforce': {
                'outcome': "case when engagement_type = 'call' and is_completed then 'connected' end",
                'task_status': "case when task_status like 'waiting%' then 'waiting' else task_status end",
            },
        },
    ) }}

),

members as (

    select *
    from {{ sources_union(
        {'hubspot': 'stg_hubspot__engagement_members', 'salesforce': 'stg_salesforce__activities'},
        {
            'engagement_id': dbt.type_string(),
            'crm_contact_id': dbt.type_string(),
            'crm_company_id': dbt.type_string(),
        },
        {
            'hubspot': {'crm_contact_id': 'hubspot_contact_id', 'crm_company_id': 'hubspot_company_id'},
            'salesforce': {'crm_contact_id': 'salesforce_contact_id', 'crm_company_id': 'salesforce_account_id'},
        },
    ) }}

),

contacts as (

    select * from {{ ref('int_contacts__identified') }}

),

customers as (

    select * from {{ ref('int_customers__identified') }}

),

-- a person belongs to the customer they work for, whatever company the act was filed under
placed as (

    select distinct
        members.source_name,
        members.engagement_id,
        coalesce(by_hubspot.contact_id, by_salesforce.contact_id) as contact_id,
        coalesce(
            by_hubspot.customer_id,
            by_salesforce.customer_id,
            of_hubspot.customer_id,
            of_salesforce.customer_id
        ) as customer_id
    from members
    left join contacts as by_hubspot
        on
            members.source_name = 'hubspot'
            and members.crm_contact_id = by_hubspot.hubspot_contact_id
    left join contacts as by_salesforce
        on
            members.source_name = 'salesforce'
            and members.crm_contact_id = by_salesforce.salesforce_contact_id
    left join customers as of_hubspot
        on
            members.source_name = 'hubspot'
            and members.crm_company_id = of_hubspot.hubspot_company_id
    left join customers as of_salesforce
        on
            members.source_name = 'salesforce'
            and members.crm_company_id = of_salesforce.salesforce_account_id

),

final as (

    select
        ---------- ids
        {{ dbt.concat(['acts.source_name', "'-'", 'acts.engagement_id']) }} as act_id,
        acts.source_name,
        placed.customer_id,
        placed.contact_id,
        acts.owner_id,
        ---------- attributes
        acts.engagement_type as act_type,
        acts.title,
        acts.outcome,
        acts.task_status,
        acts.is_completed,
        acts.engagement_type = 'meeting' and acts.is_completed
        or coalesce(acts.engagement_type = 'call' and acts.outcome = 'connected', false) as is_talk,
        ---------- timestamps
        acts.due_at,
        acts.occurred_at
    from acts
    inner join placed
        on
            acts.source_name = placed.source_name
            and acts.engagement_id = placed.engagement_id
    where placed.customer_id is not null

)

select * from final
